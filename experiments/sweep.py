"""Trains an experiment for each combination of values of its flags, on this machine or on a Dask cluster.

    python experiments/sweep.py lenet_300_100 --grid seed=1,2,3 -- --dataset digits --epochs 40
    python experiments/sweep.py lenet_300_100 --grid threshold=2,3 seed=1,2,3 --best -- --validation 5000
    python experiments/sweep.py vgg_like --grid k=0.25,0.5 seed=1,2,3 --scheduler tcp://HOST:8786

--grid has a flag's values behind its name, as the script takes them: yes,no of a flag that is on or off, words between
spaces of one that takes several. Flags behind -- are the same for all runs. Each run has a folder below results/sweeps
that names its flags: what is finished is not repeated, what was stopped goes on, and a wider grid adds its runs.
"""

import hashlib
import importlib
import itertools
import os
import re
import sys

import _setup  # noqa: F401  must come first: prepares Theano

from tabulate import tabulate

from experiments.common import cli, cluster, jobs, status, sweep
from utils import results, runs, tables
from utils.errors import UserError

HERE = os.path.dirname(os.path.abspath(__file__))
OWN = ("--output", "--resume", "--data-dir")    # that the sweep itself gives the runs
PATHS = ("init-from", "teacher")                # flags that name another run
LONGEST_NAME = 200


def main():
    args, fixed = parsed(sys.argv[1:])
    settings = list(combinations(args.grid))
    planned = [job(args, setting, fixed) for setting in settings]
    known = seconds_of_epochs(("results", args.output))
    planned = [one._replace(epoch_seconds=known.get(kind)) for one, kind in planned]
    if args.plan:
        todo = jobs.missing(planned, args.output)
        print(jobs.plan(todo, cluster.from_flags(args)) + " Without --plan, they are trained." if todo
              else "Nothing is missing.")
        return
    try:
        sweep.train(planned, args.output, args)
    finally:
        finished = [(setting, results.read_summary(os.path.join(args.output, one.name)))
                    for setting, one in zip(settings, planned) if runs.is_finished(os.path.join(args.output, one.name))]
        groups = grouped(settings, finished)
        if finished:
            print(table(groups))
    if args.best:
        print("\n" + best(groups))


def parsed(arguments):
    """This script's flags, and the words behind --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    fixed = arguments[end + 1:]
    parser = status.Parser("sweep", __doc__)
    add = parser.add_argument
    add("script", choices=scripts(), metavar="SCRIPT", help=f"which experiment: {', '.join(scripts())}")
    add("--grid", nargs="+", default=[], type=values, metavar="FLAG=X,Y", help="values of flags, all combined")
    add("--output", default=os.path.join("results", "sweeps"), metavar="FOLDER",
        help="where the runs' folders are (default: results/sweeps)")
    add("--plan", action="store_true", help="only say what would be run")
    add("--best", action="store_true",
        help="name the setting of the least error (of language models, bits or perplexity) on validation data, mean "
             "over seeds; of images, needs --validation N behind --")
    cluster.add_flags(parser)
    add("--data-dir", metavar="FOLDER", help="where data sets lie, here and on workers (default: $SPARSEVD_DATA of "
                                             "each, or data/downloads)")
    args = parser.parse_args(arguments[:end])
    own = [word for word in [*fixed, *(f"--{name}" for name, _ in args.grid)] if word.partition("=")[0] in OWN]
    if own:
        raise UserError(f"{own[0]} belongs before --, without --grid: it is the sweep's")
    names = [name for name, _ in args.grid]
    behind = [word.partition("=")[0].removeprefix("--") for word in fixed if word.startswith("--")]
    twice = [name for name in names if names.count(name) > 1 or name in behind or f"no-{name}" in behind]
    if twice:
        raise UserError(f"--{twice[0]} has its values twice: name it once, in --grid or behind --")
    return args, fixed


def scripts():
    found = []
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".py"):
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                if "\nEXPERIMENT = Experiment(" in file.read():
                    found.append(name.removesuffix(".py"))
    return found


def values(text):
    """("seed", ["1", "2"]) of "seed=1,2"."""
    name, _, several = text.partition("=")
    name, several = name.removeprefix("--").replace("_", "-"), [value.strip() for value in several.split(",")]
    if not name or not all(several) or len(set(several)) < len(several):
        raise ValueError(text)
    return name, several


def combinations(grid):
    """Dicts of a value for each flag."""
    names = [name for name, _ in grid]
    for chosen in itertools.product(*(several for _, several in grid)):
        yield dict(zip(names, chosen))


def job(args, setting, fixed):
    """The run of a setting, and of which kind it is; its flags are read by the experiment's own command line."""
    flags = [word for name, value in setting.items() for word in words(name, value)]
    name = folder_name(args.script, fixed, setting)
    module = importlib.import_module(f"experiments.{args.script}")
    options = cli.parse(module.EXPERIMENT, module.__doc__, [*fixed, *flags, "--output",
                                                            os.path.join(args.output, name)])
    given = options.values
    if args.best and not (given["validation"] or module.EXPERIMENT.source != "images"):
        raise UserError("--best chooses by the error on validation images: give --validation N behind --")
    command = [os.path.join("experiments", f"{args.script}.py"), *fixed, *flags]
    # Workers have other working folders; the last of two flags counts.
    paths = {flag: os.path.abspath(given[flag.replace("-", "_")]) for flag in PATHS if given[flag.replace("-", "_")]}
    command += [word for flag, path in paths.items() for word in (f"--{flag}", path)]
    pretrain = tuple(given["pretrain"] or ())
    before = tuple(options.for_pretraining(own, options.folder).values["epochs"] for own in pretrain)
    return (jobs.Job(name, command, given["dataset"], given["variant"], given["epochs"], None, pretrain, before,
                     tuple(paths.values())),
            (given["network"], given["k"], options.method.name, given["dataset"]))


def words(name, value):
    """A flag as on a command line."""
    if value in ("yes", "no"):
        return ["--" + "no-" * (value == "no") + name]
    return [f"--{name}", *value.split()]


def folder_name(script, fixed, setting):
    """A name that says what a run is trained with, whatever the order of the flags."""
    flags = [tuple(re.split(r"[ =]+", flag.strip(), maxsplit=1))
             for flag in re.split(r"(?:^|\s)--", " ".join(fixed)) if flag.strip()]
    flags = [flag if len(flag) > 1 else (flag[0].removeprefix("no-"), "no" if flag[0].startswith("no-") else "yes")
             for flag in flags]
    flags = sorted([*flags, *setting.items()], key=lambda flag: (flag[0] == "seed", flag))
    name = "-".join([script, *("=".join(flag) for flag in flags)])
    plain = re.sub(r"[^\w.=,+-]", "_", name, flags=re.ASCII)
    if plain != name.replace(" ", "_") or len(plain) > LONGEST_NAME:
        plain = f"{plain[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return plain


def seconds_of_epochs(folders):
    """How long an epoch took in finished runs: {(network, k, method, data set): seconds}."""
    return {(group.network, group.k, group.method, group.dataset):
            results.mean_and_deviation([summary["seconds"] for summary in group.summaries])[0] / group.epochs
            for folder in folders for group in results.collect(folder) if "seconds" in group.summaries[0]}


def grouped(settings, finished):
    """{setting without its seed: (how many runs it has, the summaries of those that are finished)}."""
    groups = {}
    for setting in settings:
        number, _ = groups.get(without_seed(setting), (0, None))
        groups[without_seed(setting)] = number + 1, [
            summary for own, summary in finished if without_seed(own) == without_seed(setting)]
    return groups


def without_seed(setting):
    return tuple((name, value) for name, value in setting.items() if name != "seed")


def table(groups):
    rows = []
    for setting, (number, summaries) in groups.items():
        cells = ("", "", "")
        if summaries:
            cells = (measured(summaries),
                     tables.column([summary["sparsity_percent_total"] for summary in summaries], 2),
                     tables.column([summary["compression"] for summary in summaries], 1, "x"))
        rows.append((*(value for _, value in setting), f"{len(summaries)} of {number}", *cells))
    names = [name for name, _ in next(iter(groups))]
    title = next(measure(summary)[0] for _, summaries in groups.values() for summary in summaries)
    return tabulate(rows, (*names, "Runs", title, "Sparsity %", "Compression"), disable_numparse=True)


def measure(summary):
    """What settings are compared by, its title, value and digits; on validation data where the run has some."""
    for key, (title, digits) in tables.MEASURES.items():
        if f"valid_{key}" in summary:
            return f"Validation {title}", summary[f"valid_{key}"], digits
    title = "Validation error %" if summary["validation"] else "Error %"
    return title, summary["test_error_percent"], tables.MEASURES["error_percent"][1]


def measured(summaries):
    return tables.column([measure(summary)[1] for summary in summaries], measure(summaries[0])[2])


def best(groups):
    """The line that names the setting of the least mean measure, among those whose runs are all finished."""
    errors = {setting: [measure(summary)[1] for summary in summaries]
              for setting, (number, summaries) in groups.items() if len(summaries) == number}
    if not errors:
        raise UserError("--best: no setting has all its runs finished")
    chosen = min(errors, key=lambda setting: results.mean_and_deviation(errors[setting])[0])
    named = " ".join(word for name, value in chosen for word in words(name, value)) or "the only setting"
    left_out = len(groups) - len(errors)
    summaries = groups[chosen][1]
    return (f"Best on validation data: {named}, {measure(summaries[0])[0]}: {measured(summaries)}, "
            f"{len(summaries)} runs"
            + (f"; {left_out} settings without all their runs are left out" if left_out else ""))


if __name__ == "__main__":
    status.main(main)
