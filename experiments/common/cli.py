"""The command line that the experiments share, and how they end."""

import argparse
import os
import sys

import data
from nets import methods
from nets.layers.sparse_vd import PARAMETERIZATIONS
from utils import runs
from utils.errors import UserError

__all__ = ["parse", "main"]


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


def _size(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value:g} is not positive")
    return value


def _rate(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{value:g} is no rate: 0 <= X < 1")
    return value


def _number(text):
    value = float(text)
    if value != value:
        raise argparse.ArgumentTypeError("NaN is no number here")
    return value


#: Every flag that decides what is trained. A script offers those that it gives a default.
_FLAGS = {
    "dataset": dict(choices=tuple(data.DATASETS), help="what to train on; digits needs no download"),
    "method": dict(choices=tuple(methods.NAMES), help="which layers the network is made of"),
    "architecture": dict(choices=("lenet-300-100", "vgg-like"), help="of the network"),
    "k": dict(type=_size, metavar="X", help="scales the numbers of filters and units"),
    "epochs": dict(type=_positive, metavar="N",
                   help="passes over the training set; with another number than the default, the learning rate's and "
                        "the KL term's schedules are stretched to it"),
    "batch_size": dict(type=_positive, metavar="N", help="images in a step"),
    "seed": dict(type=_seed, metavar="N", help="of initial weights, noise, augmentation, random labels and the order "
                                               "of images"),
    "learning_rate": dict(type=_size, metavar="X", help="Adam's first learning rate; it falls as in the script"),
    "log_sigma2": dict(type=_number, metavar="X", help="where log sigma^2 of every weight starts"),
    "kl_warm_up": dict(action=argparse.BooleanOptionalAction,
                       help="whether the weight of the KL term grows from 0 to 1 over the first epochs; without, it is "
                            "1 from the start"),
    "parameterization": dict(choices=PARAMETERIZATIONS,
                             help="what is trained of the weights' noise: log sigma^2 as in the paper, or log alpha"),
    "kl": dict(choices=tuple(methods.KL_TERMS),
               help="the KL term: the paper's, or that of the first version of the authors' code, where a pruned weight "
                    "has no share of it"),
    "threshold": dict(type=_number, metavar="X", help="a weight is pruned where log alpha >= X"),
    "dropout_rate": dict(type=_rate, metavar="X", help="of binary dropout, in place of the architecture's rates"),
    "preprocessing": dict(choices=tuple(data.PREPROCESSINGS), help="of the images, fitted on the training set"),
    "augment": dict(action=argparse.BooleanOptionalAction,
                    help="whether training images are shifted (and natural ones mirrored) at random"),
    "random_labels": dict(action=argparse.BooleanOptionalAction,
                          help="whether the training set's labels are drawn at random"),
    "validation": dict(type=_positive, metavar="N",
                       help="leave the last N training images out of the training, and test on them in place of the "
                            "test set: to choose hyper-parameters by"),
    "variant": dict(metavar="TEXT", help="take a data set's files although their content is not the official one; the "
                                         "text stands beside the data set's name in every table"),
    "init_from": dict(metavar="PATH", help="start from the weights of a finished run (its folder, or weights.npz) of "
                                           "the same network, whatever its method, or from the original's .npy"),
    "plain_graph": dict(action=argparse.BooleanOptionalAction,
                        help="whether to do without this project's own C code for a CPU, which is faster and draws "
                             "other noise from the same seed; on a GPU it is not used"),
    "pretrain": dict(choices=("dense", "binary-dropout"),
                     help="first train the network by this method, in a folder of its own (FOLDER-<method>), then "
                          "start from its weights"),
}


# What no script needs to say, and what hangs on the method: without the flag, the option is None.
_DEFAULTS = {"batch_size": 100, "seed": 1, "kl_warm_up": True, "parameterization": "additive", "threshold": 3.0,
             "kl": "paper", "validation": None,
             "dropout_rate": None, "preprocessing": None, "random_labels": False, "variant": None,
             "init_from": None, "pretrain": None, "plain_graph": False}
_BY_METHOD = ("learning_rate", "log_sigma2", "augment")

# What a result depends on and no other column of the tables shows.
_NAMED_IN_TABLES = ("batch_size", "learning_rate", "kl_warm_up", "kl", "threshold", "log_sigma2", "dropout_rate", "preprocessing",
                    "augment")


def parse(description, experiment, arguments=None, **defaults):
    """Reads an experiment's command line.

    Parameters
    ----------
    description : str
        the script's docstring
    experiment : str
        the script's name, which stands in the folder of a run and in its configuration
    arguments : list of str or None
        None is `sys.argv`
    **defaults
        of flags; `dataset`, `method` and `epochs` are needed; `k` and `architecture` are offered only if they are given

    Returns
    -------
    argparse.Namespace
        an attribute for each flag; and `settings`, a dict of those the training depends on, `experiment`, `folder`,
        the run's, `resume`, a bool, `stored`, the settings of the run that is resumed, and `resume_hint`, the flags
        that go on with the run. The setting `flags` lists the hyper-parameters that are not the script's own. When a
        run is resumed, what the command line does not give is as in the run's configuration.

    Raises
    ------
    UserError
        if the flags contradict each other or the run that is to be resumed.
    """
    defaults = {**_DEFAULTS, **dict.fromkeys(_BY_METHOD), **defaults}
    args = _parser(description, experiment, defaults).parse_args(arguments)
    resume = args.resume is not None
    folder = args.output
    if args.resume:
        if folder and os.path.abspath(folder) != os.path.abspath(args.resume):
            raise UserError(f"--output {folder} and --resume {args.resume} name two runs: give one of them")
        folder = args.resume
        if not runs.holds_run(folder):
            raise UserError(f"{folder} holds no run to resume{_resumable(experiment)}")
    elif resume and not folder:
        raise UserError(f"which run? Give --resume FOLDER{_resumable(experiment)}")

    settings = dict(defaults)
    stored = runs.stored_settings(folder) if resume else {}
    if stored:
        if stored.get("experiment") != experiment:
            raise UserError(f"{folder} is a run of {stored.get('experiment')}, not of {experiment}: resume it with "
                            f"experiments/{stored.get('experiment')}.py")
        # Schedules stand there as dicts; their flag is the first value.
        settings.update((name, stored[name]["initial"] if isinstance(stored[name], dict) else stored[name])
                        for name in defaults if name in stored)
    settings.update((name, getattr(args, name)) for name in defaults if getattr(args, name) is not None)
    # Like the data set's augmentation: none of the script's business.
    defaults["preprocessing"] = data.DATASETS[settings["dataset"]].preprocessing
    settings["preprocessing"] = settings["preprocessing"] or defaults["preprocessing"]
    if args.init_from and args.pretrain:
        raise UserError("--init-from and --pretrain name two sets of weights to start from: give one of them")
    settings["flags"] = stored.get("flags", []) if stored else [
        _flag(name, settings[name]) for name in _NAMED_IN_TABLES if settings[name] != defaults[name]]
    folder = folder or runs.default_folder(experiment, settings["dataset"], settings["method"], settings["seed"])
    return argparse.Namespace(**settings, settings=settings, experiment=experiment, folder=folder, resume=resume,
                              stored=stored, resume_hint=f"--resume {folder}", data_dir=args.data_dir,
                              snapshots=args.snapshots)


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
    for name, keywords in _FLAGS.items():
        if name in defaults:
            default = ("depends on the method" if name in _BY_METHOD else "depends on the data set"
                       if name == "preprocessing" else _spelled(defaults[name]))
            parser.add_argument("--" + name.replace("_", "-"), default=None,
                                **{**keywords, "help": f"{keywords['help']} (default: {default})"})
    add = parser.add_argument
    add("--snapshots", action="store_true",
        help="keep the first convolution's filters and a piece of the first dense layer at each epoch, and draw them "
             "as PNG and GIF, in FOLDER/snapshots")
    add("--output", metavar="FOLDER", help="the run's folder (default: one below results, named after experiment, data "
                                           "set, method, seed and time)")
    add("--resume", nargs="?", const="", metavar="FOLDER",
        help="go on with the run in FOLDER (default: that of --output) from its last checkpoint, with its settings")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    return parser


def _spelled(default):
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "none" if default is None else format(default, "g") if isinstance(default, float) else default


def _flag(name, value):
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{words}" if value else f"--no-{words}"
    return f"--{words} {_spelled(value)}"


def _resumable(experiment):
    """Names the newest resumable run under results/, for an error's text."""
    candidates = []
    if os.path.isdir("results"):
        for entry in os.scandir("results"):
            if entry.name.startswith(experiment) and runs.has_checkpoint(entry.path):
                candidates.append((os.path.getmtime(os.path.join(entry.path, "checkpoint.npz")), entry.path))
    return f", for example --resume {max(candidates)[1]}" if candidates else "; there is none under results/"
