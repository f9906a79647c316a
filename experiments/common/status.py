"""How scripts end: what the user can mend is one line and an exit status."""

import os
import sys

from utils.errors import UserError

__all__ = ["main"]


def main(function):
    """Runs an experiment's main function; what the user can mend ends in one line and exit status 1."""
    try:
        function()
    except UserError as error:
        message, status = f"error: {error}", 1
    except KeyboardInterrupt:
        message, status = "interrupted; epochs completed before are in the run's checkpoint (--resume)", 130
    except BrokenPipeError:
        # The reader of our output is gone; nothing can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message, status = "error: the output's reader ended; go on with --resume", 1
    except MemoryError:
        message, status = "error: out of memory: close other programs, or take a smaller --batch-size", 1
    else:
        return
    sys.stdout.flush()
    print(message, file=sys.stderr)
    sys.exit(status)
