"""How scripts end: what the user can mend is one line and an exit status."""

import argparse
import os
import re
import sys

from utils import files
from utils.errors import UserError

__all__ = ["Parser", "main"]


class Parser(argparse.ArgumentParser):
    """A command line, described by the script's docstring; what is wrong with it is one line and status 2.

    Parameters
    ----------
    name : str
        the script's
    """

    def __init__(self, name, description, **keywords):
        super().__init__(prog=f"experiments/{name}.py", description=description, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **keywords)
        # argparse takes -1e-3 for a flag, although -0.001 is a number to it.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")

    def given(self, args, names):
        """The flags of those names whose values in `args` are not the defaults, as a user types them."""
        return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) != self.get_default(name)]

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, which takes bytes that are no UTF-8 for characters that no file or terminal takes."""
        for word in sys.argv[1:] if args is None else args:
            if any("\ud800" <= sign <= "\udfff" for sign in word):
                self.error(f"{word!a} is not UTF-8")
        return super().parse_known_args(args, namespace)

    def error(self, message):
        self.exit(2, f"error: {message}; {self.prog} --help lists the flags\n")


def main(function, resumes=False):
    """Runs a script's main function; what the user can mend ends in one line and exit status 1.

    `resumes` : whether the script has --resume, to go on from a checkpoint
    """
    again = "go on with --resume" if resumes else "start it again"
    try:
        function()
        sys.stdout.flush()
    except UserError as error:
        message, status = f"error: {error}", 1
    except KeyboardInterrupt:
        kept = "; epochs completed before are in the run's checkpoint (--resume)" if resumes else ""
        message, status = f"interrupted{kept}", 130
    except BrokenPipeError:
        _drop_output()
        message, status = f"error: the output's reader ended; {again}", 1
    except OSError as error:
        if error.errno not in files.FULL:
            raise
        # Files are written by `utils.files`, which names them: what is left is the output, which leads to a file.
        _drop_output()
        message, status = f"error: no room for the output ({error.strerror}): free some space; {again}", 1
    except MemoryError:
        message, status = "error: out of memory: close other programs, or take a smaller --batch-size", 1
    else:
        return
    sys.stdout.flush()
    print(message, file=sys.stderr)
    sys.exit(status)


def _drop_output():
    """Nothing can be said to the output any more, at the end of the process neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
