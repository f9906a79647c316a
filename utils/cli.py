"""The command line that the experiments share, and how they end."""

import argparse
import os
import sys
from collections import namedtuple

import data
from utils import files, runs
from utils.errors import UserError

__all__ = ["parse", "main"]

Options = namedtuple("Options", "dataset epochs batch_size seed threshold folder resume data_dir")
_SETTINGS = ("dataset", "epochs", "batch_size", "seed", "threshold")


def parse(description, experiment, defaults, arguments=None):
    """Reads an experiment's command line.

    Parameters
    ----------
    description : str
        the script's docstring
    experiment : str
        the script's name, which stands in the folder of a run and in its configuration
    defaults : dict
        of `dataset`, `epochs`, `batch_size`, `seed` and `threshold`
    arguments : list of str or None
        None is `sys.argv`

    Returns
    -------
    :class:`Options`
        `folder` is the run's, `resume` a bool. When a run is resumed, what the command line does not give is as in
        the run's configuration.

    Raises
    ------
    UserError
        if the flags contradict each other or the run that is to be resumed.
    """
    args = _parser(description, experiment, defaults).parse_args(arguments)
    resume = args.resume is not None
    folder = args.output
    if args.resume:
        if folder and os.path.abspath(folder) != os.path.abspath(args.resume):
            raise UserError(f"--output {folder} and --resume {args.resume} name two runs: give one of them")
        folder = args.resume
        if not _holds_run(folder):
            raise UserError(f"{folder} holds no run to resume{_resumable(experiment)}")
    elif resume and not folder:
        raise UserError(f"which run? Give --resume FOLDER{_resumable(experiment)}")

    settings = dict(defaults)
    if resume and _holds_run(folder):
        stored = files.read_json(os.path.join(folder, "config.json")).get("settings", {})
        if stored.get("experiment") != experiment:
            raise UserError(f"{folder} is a run of {stored.get('experiment')}, not of {experiment}: resume it with "
                            f"experiments/{stored.get('experiment')}.py")
        settings.update((name, stored[name]) for name in _SETTINGS if name in stored)
    settings.update((name, getattr(args, name)) for name in _SETTINGS if getattr(args, name) is not None)
    folder = folder or runs.default_folder(experiment, settings["dataset"], settings["seed"])
    return Options(**settings, folder=folder, resume=resume, data_dir=args.data_dir)


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


def _parser(description, experiment, defaults):
    parser = argparse.ArgumentParser(
        prog=f"experiments/{experiment}.py", description=description, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="THEANO_FLAGS keeps its meaning, for example THEANO_FLAGS=device=cuda trains on a GPU.")
    add = parser.add_argument
    add("--dataset", choices=data.names, help=f"what to train on (default: {defaults['dataset']}); digits needs no "
                                              "download")
    add("--epochs", type=_positive, metavar="N",
        help=f"passes over the training set (default: {defaults['epochs']}); with another number, the learning rate's "
             "and the KL term's schedules are stretched to it")
    add("--batch-size", type=_positive, metavar="N", help=f"images in a step (default: {defaults['batch_size']})")
    add("--seed", type=_seed, metavar="N",
        help=f"of initial weights, noise and the order of images (default: {defaults['seed']})")
    add("--threshold", type=_number, metavar="X",
        help=f"a weight is pruned where log alpha >= X (default: {defaults['threshold']:g})")
    add("--output", metavar="FOLDER", help="the run's folder (default: results/<experiment>-<dataset>-seed<N>-<time>)")
    add("--resume", nargs="?", const="", metavar="FOLDER",
        help="go on with the run in FOLDER (default: that of --output) from its last checkpoint, with its settings")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    return parser


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _seed(text):
    value = int(text)
    if not 0 <= value < 2 ** 32:
        raise argparse.ArgumentTypeError(f"{value} is not in 0 ... 4294967295")
    return value


def _number(text):
    value = float(text)
    if value != value:
        raise argparse.ArgumentTypeError("NaN is no threshold")
    return value


def _holds_run(folder):
    return os.path.exists(os.path.join(folder, "config.json"))


def _resumable(experiment):
    """Names the newest resumable run under results/, for an error's text."""
    candidates = []
    if os.path.isdir("results"):
        for entry in os.scandir("results"):
            checkpoint = os.path.join(entry.path, "checkpoint.npz")
            if entry.name.startswith(experiment) and os.path.exists(checkpoint):
                candidates.append((os.path.getmtime(checkpoint), entry.path))
    return f", for example --resume {max(candidates)[1]}" if candidates else "; there is none under results/"
