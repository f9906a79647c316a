"""The command line that the experiments share."""

import os
import shlex
from dataclasses import dataclass, field, replace

import data
from experiments.common.sources import SOURCES
from experiments.common.status import Parser
from nets import methods
from nets.architectures import NETWORKS
from nets.methods import METHODS
from nets.schedules import restored
from utils import flags, runs
from utils.errors import UserError
from utils.flags import Flag

__all__ = ["Experiment", "Options", "parse"]

_AT_START = tuple(flag.name for method in METHODS.values() for flag in method.flags if flag.at_start)

#: Flags whatever the method is, by the section of a run's settings that holds them. The flags `dataset` and `method`
#: are their sections' `name`.
COMMON = {
    None: (
        Flag("network", None, "which network", choices=tuple(NETWORKS), in_tables=False),
        Flag("k", 1.0, "scales the numbers of filters and units", flags.size, in_tables=False),
        Flag("units", None, "of the LSTM", flags.positive, metavar="N"),
        Flag("embedding", None, "dimensions of the embedding", flags.positive, metavar="N")),
    "dataset": (
        Flag("dataset", None, "what to train on; images called digits, and texts called made-up, need no download",
             choices=tuple(dict.fromkeys((*data.DATASETS, *data.TEXTS, *data.DOCUMENTS))), in_tables=False),
        Flag("vocabulary", None, "how many most frequent tokens have an id of their own; without the flag, as the data "
                                 "has it", flags.positive, metavar="N", in_tables=False),
        Flag("length", None, "tokens of a piece of text", flags.positive, metavar="N"),
        Flag("part", None, "which share of the training text is taken, from its start", flags.share, in_tables=False),
        Flag("preprocessing", None, "of the images, fitted on the training set; without the flag, as the data set has "
                                    "it", choices=tuple(data.PREPROCESSINGS)),
        Flag("augment", False, "whether training images are shifted (and natural ones mirrored) at random", bool),
        Flag("shift", None, "by how many pixels --augment shifts images at most; without the flag, as the data set has "
                            "it", flags.positive, metavar="N"),
        Flag("random_labels", False, "whether the training set's labels are drawn at random", bool, in_tables=False),
        Flag("validation", None, "leave the last N training images out of the training, and test on them in place of "
                                 "the test set: to choose hyper-parameters by", flags.positive, metavar="N",
             in_tables=False),
        Flag("variant", None, "take a data set's files although their content is not the official one; the text stands "
                              "beside the data set's name in every table", metavar="TEXT", in_tables=False)),
    "method": (Flag("method", None, "how to train the network", in_tables=False),),
    "training": (
        Flag("epochs", 200, "passes over the training set; with another number than the default, all schedules are "
                            "stretched to it", flags.positive, metavar="N", in_tables=False),
        Flag("batch_size", 100, "examples in a step", flags.positive, metavar="N"),
        Flag("seed", 1, "of initial weights, noise, augmentation, random labels and the order of examples", flags.seed,
             metavar="N", in_tables=False),
        Flag("learning_rate", None, "the first learning rate; it falls as in the script", flags.size),
        Flag("clip_norm", None, "the largest norm of the gradient of the loss an example; longer ones are shortened",
             flags.size),
        Flag("best_epoch", False, "whether the result is the network after the epoch with the least loss on validation "
                                  "data, rather than after the last one", bool),
        Flag("l2", 0.0, "the weight of the sum of squared weights, added to the mean of -log p", flags.weight),
        Flag("plain_graph", False, "whether to do without this project's own C++ code, or kernels on a GPU, which are "
                                   "faster and draw other noise from the same seed", bool, in_tables=False),
        Flag("teacher", None, "learn the predictions of a finished run on the same images, too, of whatever network "
                              "and method; its folder", metavar="RUN", in_tables=False),
        Flag("temperature", 4.0, "by which the teacher's log probabilities are divided", flags.size),
        Flag("teacher_weight", 0.9, "of the teacher's predictions; the labels have the rest", flags.rate)),
    "start": (
        Flag("init_from", None, "start from the weights of a finished run (its folder, or a file in it) of the same "
                                "network, whatever its method, or from the original's .npy", metavar="PATH",
             in_tables=False),
        Flag("pretrain", None, "first train the network by these methods, one after another, each in a folder of its "
                               "own (FOLDER-<method>), then start from the last one's weights", nargs="+",
             in_tables=False),
        # Flags that are `at_start` and given although they are the script's own.
        Flag("given", None, choices=_AT_START, nargs="*", in_tables=False)),
}
_FLAGS = {flag.name: flag for section in COMMON.values() for flag in section}


@dataclass(frozen=True)
class Experiment:
    """What a script trains.

    Attributes
    ----------
    name : str
        the script's, which stands in the folder of a run and in its configuration
    networks : tuple of str
        names of `NETWORKS`; the first is the default
    dataset : str
        the name of a data set, text or documents
    methods : dict
        {method: dict}, the first is the default. The values of a method: `learning_rate`, a schedule; where they are
        not `COMMON`'s defaults, `epochs`, `batch_size`, `l2`, `augment`; and the method's own
    epochs : int
        that the schedules are for
    defaults : dict
        of other flags
    source : str
        a name of `SOURCES`: what kind of data it is trained on
    """

    name: str
    networks: tuple
    dataset: str
    methods: dict
    epochs: int = 200
    defaults: dict = field(default_factory=dict)
    source: str = "images"

    @property
    def data(self):
        """The one of `SOURCES`."""
        return SOURCES[self.source]

    def values(self, method):
        """What the script says of every flag: {name: value}."""
        return {**{flag.name: flag.default for flag in (*_FLAGS.values(), *METHODS[method].flags)},
                "network": self.networks[0], "dataset": self.dataset, "epochs": self.epochs, **self.defaults,
                "method": method, **self.methods[method]}

    def offers(self, name):
        """Whether a common flag makes sense here."""
        if name == "network":
            return len(self.networks) > 1
        if name == "k" and self.source == "images":
            return any(NETWORKS[network].scalable for network in self.networks)
        return name in self.data.flags or not any(name in source.flags for source in SOURCES.values())


@dataclass
class Options:
    """What a command line asks for, read.

    Attributes
    ----------
    experiment : :class:`Experiment`
    values : dict
        of the common flags; `learning_rate` is a schedule, stretched to the number of epochs
    method : :class:`nets.methods.base.Method`
    given : dict
        what the command line says itself, or the run that is resumed says otherwise than the script
    flags : dict
        the hyper-parameters that are not the script's own
    flags_shown : str
        the same as tables show them
    folder, data_dir : str
        data_dir may be None
    resume, snapshots : bool
    resume_hint : str
        the flags that go on with the run
    """

    experiment: Experiment
    values: dict
    method: methods.base.Method
    given: dict
    flags: dict
    flags_shown: str
    folder: str = None
    resume: bool = False
    resume_hint: str = None
    data_dir: str = None
    snapshots: bool = False

    @property
    def network(self):
        """The :class:`nets.architectures.Network`."""
        return NETWORKS[self.values["network"]]

    @property
    def network_title(self):
        """What tables call it."""
        return self.network.titled(self.values["k"])

    def sections(self):
        """The values as `config.json` has them, in sections."""
        found = {"experiment": self.experiment.name, "network_title": self.network_title}
        for section, own in COMMON.items():
            values = {flag.name: methods.stored(self.values[flag.name]) for flag in own}
            if section is None:
                found.update(values)
            else:
                if section in values:
                    values = {"name": values.pop(section), **values}
                found[section] = values
        found["method"] = methods.described(self.method)
        return found

    def defaults(self):
        """Like `sections`: what a run has of a value that it does not name."""
        found = {section: {flag.name: flag.default for flag in own} for section, own in COMMON.items() if section}
        found["method"] = {flag.name: methods.stored(flag.default) for flag in self.method.flags}
        return {**found, **{flag.name: flag.default for flag in COMMON[None]}}

    def for_pretraining(self, name, folder):
        """Those of a training by another method before this one: its own flags are the script's."""
        own = {"learning_rate", "l2", "augment", "best_epoch", "init_from", "pretrain", "teacher", "temperature",
               "teacher_weight", "given", *(flag.name for flag in self.method.flags)}
        given = {flag: value for flag, value in self.given.items() if flag not in own}
        return replace(resolved(self.experiment, name, given), folder=folder, resume=runs.holds_run(folder),
                       resume_hint=f"the same command with --output {self.folder} --resume", data_dir=self.data_dir,
                       snapshots=self.snapshots)


def resolved(experiment, method, given):
    """The :class:`Options` where the command line gives some of the values, and the script the others."""
    script = experiment.values(method)
    values = {**script, **given, "method": method}
    factor = values["epochs"] / script["epochs"]
    rate = script["learning_rate"]
    if "learning_rate" in given:
        rate = rate.starting_at(given["learning_rate"])
    values["learning_rate"] = rate
    values = {name: value.stretched(factor) if hasattr(value, "stretched") else value
              for name, value in values.items()}
    own = METHODS[method].flags
    flags, shown = {}, []
    for flag in (*_FLAGS.values(), *own):
        value = given.get(flag.name, script[flag.name])
        if (value != script[flag.name] or flag.name in (values["given"] or ())) and (flag.in_tables or flag in own):
            if flag.name == "learning_rate" and rate == script["learning_rate"]:
                continue
            # Of its pretraining alone.
            if flag.name == "shift" and not values["augment"]:
                continue
            flags[flag.name] = value
            if flag.in_tables:
                shown.append(flag.text(value))
    return Options(experiment, {name: values[name] for name in _FLAGS},
                   METHODS[method](**{flag.name: values[flag.name] for flag in own}), given, flags, " ".join(shown))


def parse(experiment, description, arguments=None):
    """Reads an experiment's command line.

    Parameters
    ----------
    experiment : :class:`Experiment`
    description : str
        the script's docstring
    arguments : list of str or None
        None is `sys.argv`

    Returns
    -------
    :class:`Options`
        When a run is resumed, what the command line does not give is as in the run's configuration.

    Raises
    ------
    UserError
        if the flags contradict each other or the run that is to be resumed.
    SystemExit
        for flags that there are not, after a line that names them.
    """
    early = Parser(experiment.name, None, add_help=False)
    for option in ("--method", "--output"):
        early.add_argument(option)
    early.add_argument("--resume", nargs="?", const="")
    early, _ = early.parse_known_args(arguments)
    folder, resume = _folder(early, experiment)
    stored = _stored(folder, experiment) if resume and runs.holds_run(folder) else {}
    method = early.method or stored.get("method")
    known = method if method in experiment.methods else next(iter(experiment.methods))
    parser = _parser(experiment, known, description)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_explained(unknown, experiment, known))
    offered = [flag.name for flag in (*_FLAGS.values(), *METHODS[known].flags)]
    typed = {name: value for name, value in vars(args).items() if name in offered and value is not None}
    empty = [name for name in (*typed, "output") if vars(args)[name] == ""]
    if empty:
        raise UserError(f"--{empty[0].replace('_', '-')} is empty: give it a value, or leave it out")
    if typed.get("init_from") and typed.get("pretrain"):
        raise UserError("--init-from and --pretrain name two sets of weights to start from: give one of them")
    script = experiment.values(known)
    given = {**{name: value for name, value in stored.items() if name in offered and value != script[name]}, **typed}
    if not stored and (given.get("init_from") or given.get("pretrain")):
        same = [name for name in _AT_START if name in typed and typed[name] == script[name]]
        if same:
            given["given"] = same
    options = resolved(experiment, known, given)
    trained = [options.values, *map(experiment.values, options.values["pretrain"] or ())]
    if options.values["shift"] and not any(values["augment"] for values in trained):
        raise UserError("--shift says how far --augment shifts images: give that too")
    of_teacher = [name for name in ("temperature", "teacher_weight") if name in typed]
    if of_teacher and not options.values["teacher"]:
        raise UserError(f"{_FLAGS[of_teacher[0]].option} is of --teacher: give that too")
    folder = folder or runs.default_folder(experiment.name, options.values["dataset"], known, options.values["seed"])
    hint = shlex.join(["--resume", folder, *(["--data-dir", args.data_dir] if args.data_dir else ())])
    snapshots = getattr(args, "snapshots", False) or resume and os.path.isdir(os.path.join(folder, "snapshots"))
    return replace(options, folder=folder, resume=resume, resume_hint=hint, data_dir=args.data_dir, snapshots=snapshots)


def _folder(args, experiment):
    """The folder that the command line names (None if it does not), and whether its run goes on."""
    resume, folder = args.resume is not None, args.output
    if args.resume:
        if folder and os.path.abspath(folder) != os.path.abspath(args.resume):
            raise UserError(f"--output {folder} and --resume {args.resume} name two runs: give one of them")
        folder = args.resume
        if not runs.holds_run(folder):
            before = os.path.normpath(folder)
            if any(runs.holds_run(f"{before}-{name}") for name in experiment.methods):
                raise UserError(f"{folder} was stopped in its pretraining: go on by the same command with "
                                f"{shlex.join(['--output', before, '--resume'])}")
            raise UserError(f"{folder} holds no run to resume{_resumable(experiment.name)}")
    elif resume and not folder:
        raise UserError(f"which run? Give --resume FOLDER{_resumable(experiment.name)}")
    # Pretraining's folders are named after it; a shell's completion ends it with a slash.
    return os.path.normpath(folder) if folder else folder, resume


def _stored(folder, experiment):
    """The flags' values of a folder's run, {name: value}."""
    settings = runs.read_config(folder)["settings"]
    if settings.get("experiment") != experiment.name:
        raise UserError(f"{folder} is a run of {settings.get('experiment')}, not of {experiment.name}: resume it with "
                        f"experiments/{settings.get('experiment')}.py")
    found = {}
    for section, own in COMMON.items():
        values = settings if section is None else settings.get(section, {})
        found.update((flag.name, values[key]) for flag in own
                     if values.get(key := "name" if flag.name == section else flag.name) is not None)
    method = METHODS.get(found["method"])
    try:
        found.update((name, restored(value)) for name, value in settings["method"].items() if name != "name")
        # Stretched already; `resolved` makes it anew from its first value.
        rate = restored(found.pop("learning_rate", None))
        if hasattr(rate, "stretched"):
            found["learning_rate"] = rate(0)
        for flag in (*_FLAGS.values(), *(method.flags if method else ())):
            if flag.name in found:
                flag.checked(found[flag.name])
    except ValueError as error:
        raise UserError(f"{folder}/config.json: {error}; restore it from a copy, or start a new run without "
                        "--resume") from None
    for flag in method.flags if method else ():
        if hasattr(found.get(flag.name), "stretched"):
            del found[flag.name]
    return found


def _parser(experiment, method, description):
    parser = Parser(experiment.name, description, epilog="Flags of another method: --method NAME --help. THEANO_FLAGS "
                    "keeps its meaning, for example THEANO_FLAGS=device=cuda trains on a GPU.")
    script = experiment.values(method)
    names = tuple(experiment.methods)
    choices = {"method": names, "pretrain": names, "network": experiment.networks, "dataset": experiment.data.choices}
    for flag in _FLAGS.values():
        if flag.help and experiment.offers(flag.name):
            default = script[flag.name]
            default = default(0) if hasattr(default, "stretched") else default
            replace(flag, choices=choices.get(flag.name, flag.choices)).add_to(parser, default)
    group = parser.add_argument_group(f"of --method {method}")
    for flag in METHODS[method].flags:
        if flag.help:
            flag.add_to(group, script[flag.name])
    add = parser.add_argument
    if experiment.source == "images":
        add("--snapshots", action="store_true",
            help="keep the first convolution's filters and a piece of the first dense layer at each epoch, and draw "
                 "them as PNG and GIF, in FOLDER/snapshots")
    add("--output", metavar="FOLDER", help="the run's folder (default: one below results, named after experiment, data "
                                           "set, method, seed and time)")
    add("--resume", nargs="?", const="", metavar="FOLDER",
        help="go on with the run in FOLDER (default: that of --output) from its last checkpoint, with its settings")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    return parser


def _explained(unknown, experiment, method):
    for argument in unknown:
        option = argument.partition("=")[0]
        owners = [name for name in experiment.methods for flag in METHODS[name].flags
                  if flag.help and option in (flag.option, "--no-" + flag.option[2:])]
        if owners:
            return f"{option} is a flag of --method {' or '.join(owners)}, not of {method}"
    return f"unrecognized arguments: {' '.join(unknown)}"


def _resumable(experiment):
    """Names the newest resumable run under results/, for an error's text."""
    candidates = []
    if os.path.isdir("results"):
        for entry in os.scandir("results"):
            if entry.name.startswith(experiment) and runs.has_checkpoint(entry.path):
                candidates.append((os.path.getmtime(os.path.join(entry.path, "checkpoint.npz")), entry.path))
    return f", for example --resume {max(candidates)[1]}" if candidates else "; there is none under results/"
