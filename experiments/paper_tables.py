"""The paper's tables beside what was measured: mean (standard deviation) over the runs found under results/.

    python experiments/paper_tables.py
    python experiments/paper_tables.py --table lenet --format github    one table, for a Markdown file
    python experiments/paper_tables.py --run --quick                    trains all but VGG-like, roughly, in minutes
    python experiments/paper_tables.py --run --table lenet              trains what is missing, as the paper does

With --run, runs that are there are not repeated, and runs that were stopped go on. It trains the paper's own rows and
logistic regression; docs/results.md has the commands of all others.
"""

import os
import sys

import _setup  # noqa: F401  must come first

from tabulate import tabulate

from experiments.common import cluster, reproduction, status
from utils import published, results, tables
from utils.errors import UserError

MOST_LAYERS = 6     # whose sparsities find room in a row
HEADERS = ("Network", "Method", "Data set", "Epochs", "Runs", "Error %", "Sparsity per layer %", "Compression")
TEXT_HEADERS = ("Network", "Method", "Data set", "Epochs", "Runs", *tables.TEXT_HEADERS)
UNITS_HEADERS = ("Network", "Method", "Data set", "Epochs", "Runs", "Error %", "Units left", "Multiplications an image")
ACCURACY_HEADERS = ("Network", "Method", "Data set", "Epochs", "Runs", "Train accuracy", "Test accuracy", "Sparsity %")


def main():
    args = parse()
    folder = args.results or (reproduction.QUICK_FOLDER if args.quick else "results")
    chosen = [name for name in TABLES if name in args.table]
    if args.run:
        reproduction.run(chosen, folder, args, args.quick)
    elif not os.path.isdir(folder):
        raise UserError(f"{folder} is no folder: name one that holds runs, or train them with --run")
    groups = results.collect(folder)
    if args.quick:
        print("Rough: schedules squeezed into a few epochs, one seed. The figures say that everything runs, not what "
              "the method reaches.\n")
    for name in chosen:
        title, headers, rows_of = TABLES[name]
        print(titled(title, args.format))
        print(tabulate(rows_of(groups), headers, args.format, stralign="left", disable_numparse=True) + "\n")
    kept_back = sum(len(group.summaries) for group in groups if group.validation)
    if kept_back:
        print(f"Not in the tables: {kept_back} run{'s' * (kept_back > 1)} with --validation, trained on fewer images.",
              file=sys.stderr)


def parse():
    parser = status.Parser("paper_tables", __doc__)
    add = parser.add_argument
    add("--table", nargs="+", choices=tuple(TABLES), default=tuple(TABLES), metavar="NAME",
        help=f"which tables: {', '.join(TABLES)} (default: all)")
    add("--format", default="simple", choices=("simple", "github", "latex"), help="of the tables (default: simple)")
    add("--results", metavar="FOLDER", help="where the runs' folders are (default: results; with --quick "
                                            f"{reproduction.QUICK_FOLDER})")
    add("--run", action="store_true", help="first train what is missing")
    add("--quick", action="store_true", help="a rough version, of a few epochs each")
    cluster.add_flags(parser)
    add("--data-dir", metavar="FOLDER", help="where data sets lie and are downloaded to")
    add("--variant", metavar="TEXT", help="what to call CIFAR's files if they are not the official ones")
    args = parser.parse_args()
    of_training = parser.given(args, set(vars(args)) - {"table", "format", "results", "run", "quick"})
    if of_training and not args.run:
        parser.error(f"{min(of_training)} is of --run: give that too")
    return args


def titled(title, format):
    return {"simple": title + "\n", "github": f"**{title}**\n", "latex": f"% {title}"}[format]


def networks(*names):
    """A function that gives the rows of the networks of those names."""
    def rows_of(groups):
        rows = []
        widths = {(row.network, row.k) for row in (*published.rows(), *groups) if row.network in names}
        for network, k in sorted(widths, key=lambda width: (names.index(width[0]), width[1])):
            own = [group for group in groups if (group.network, group.k) == (network, k) and not group.random_labels
                   and not group.validation]
            rows += [published_row(row, own) for row in published.rows(network, k)]
            rows += [measured_row(group) for group in own]
        return rows
    return rows_of


def published_row(row, groups):
    return (row.network_title, who(row, groups), row.dataset, "", "", f"{row.error_percent:.2f}",
            tables.format_sparsity(row.sparsity_percent), tables.format_compression(row.compression))


def who(row, groups):
    """The cell of a published method, which says if there is nothing measured to compare it with."""
    ran = any(group.method == row.method and group.dataset == row.dataset for group in groups)
    return f"{row.method_title}, paper" + ("" if ran else "; not run here")


def measured_row(group):
    layers = group.summaries[0]["sparsity_percent"]
    sparsities = [tables.column([summary["sparsity_percent"][layer] for summary in group.summaries], 1)
                  for layer in layers]
    if len(layers) > MOST_LAYERS:
        sparsities = [values(group, "sparsity_percent_total", 1) + " in all"]
    return (*identity(group), values(group, "test_error_percent", 2),
            " - ".join(sparsities) if group.prunes else "", compression(group))


def units(groups):
    """Of the networks that papers report units of; runs of before they were counted are left out, as are those that
    have none left."""
    rows = []
    for network in dict.fromkeys(row.network for row in published.UNITS):
        own = [group for group in groups if group.network == network and not group.validation
               and not group.random_labels]
        for row in published.UNITS:
            if row.network == network:
                rows.append((row.network_title, who(row, own), row.dataset, "", "", f"{row.error_percent:.2f}",
                             tables.format_units(row.units), tables.format_multiplications(
                                 row.multiplications, row.multiplications_before)))
        for group in own:
            group = only(group, lambda summary: (summary.get("structure") or {}).get("multiplications", {}).get("left"))
            if group.summaries:
                found = [summary["structure"] for summary in group.summaries]
                left = zip(*(one["units"]["left"] for one in found))
                counts = [one["multiplications"] for one in found]
                rows.append((*identity(group), values(group, "test_error_percent", 2),
                             " - ".join(tables.column(numbers, 0) for numbers in left),
                             f"{results.mean_and_deviation([one['left'] for one in counts])[0]:,.0f} "
                             f"({tables.column([one['before'] / one['left'] for one in counts], 1)}x fewer)"))
    return rows


def texts(groups):
    """Language models and classifiers of texts, behind the rows of the authors' logs."""
    rows = []
    for network in dict.fromkeys(row.network for row in published.TEXTS):
        rows += [(row.network_title, f"{row.method_title}, authors' log", row.dataset, "", "",
                  *tables.published_text_cells(row)) for row in published.TEXTS if row.network == network]
        own = [only(group, lambda summary: "parts" in summary) for group in groups if group.network == network]
        rows += [(*identity(group), *tables.text_cells(group.summaries)) for group in own if group.summaries]
    return rows


def random_labels(groups):
    rows = []
    own = [group for group in groups if group.random_labels and not group.validation]
    for network in dict.fromkeys(row.network for row in published.RANDOM_LABELS):
        measured = [group for group in own if group.network == network]
        for row in published.RANDOM_LABELS:
            if row.network == network:
                rows.append((row.network_title, who(row, measured), f"{row.dataset} (random labels)", "", "",
                             f"{row.train_accuracy:.1f}", f"{row.test_accuracy:.1f}",
                             "" if row.sparsity_percent is None else f"{row.sparsity_percent:.0f}"))
        rows += [(*identity(group), accuracy(group, "final_train_error_percent"),
                  accuracy(group, "test_error_percent"),
                  values(group, "sparsity_percent_total", 2) if group.prunes else "")
                 for group in measured]
    return rows


def logistic_regression(groups):
    rows = []
    own = [group for group in groups if group.network == "logistic-regression" and not group.validation]
    for dataset in dict.fromkeys([*(row.dataset for row in published.LOGISTIC_REGRESSION),
                                  *(group.dataset_title for group in own)]):
        measured = [group for group in own if group.dataset_title == dataset]
        for row in published.LOGISTIC_REGRESSION:
            if row.dataset == dataset:
                ran = "" if measured else "; not run here"
                rows.append(("Logistic regression", f"{row.method_title}, poster{ran}", dataset, "", "", "",
                             f"{row.test_accuracy:.3f}", f"{row.sparsity_percent:.1f}"))
        for group in measured:
            rows.append((*identity(group), accuracy(group, "final_train_error_percent"),
                         accuracy(group, "test_error_percent"), values(group, "sparsity_percent_total", 1)))
            rows += baselines(group)
    return rows


def baselines(group):
    """Rows of scikit-learn's classifiers, which ran with the group's first seed that has them."""
    folders = [summary["folder"] for summary in group.summaries]
    for folder in folders:
        if not os.path.exists(os.path.join(folder, "baselines.json")):
            continue
        return [("Logistic regression", f"{name}, measured", group.dataset_title, "", 1, "",
                 f"{found['test_accuracy']:.3f}", f"{found['sparsity_percent']:.1f}")
                for name, found in results.read_baselines(folder).items()]
    return []


def only(group, has):
    """The group with those of its runs that have something."""
    return group._replace(summaries=list(filter(has, group.summaries)))


def identity(group):
    title = group.start_title
    # SparseVD and the like keep their capitals.
    start = "" if group.start == "random" else f" from {title.lower() if title[1:].islower() else title}"
    start += group.origin and f" ({group.origin})"
    flags = group.flags_shown and f", {group.flags_shown}"
    runs, seeds = len(group.summaries), len({summary["seed"] for summary in group.summaries})
    count = runs if runs == seeds else f"{runs} ({seeds} seed{'s' * (seeds > 1)})"
    return (group.network_title, f"{group.method_title}{start}{flags}, measured", group.dataset_title, group.epochs,
            count)


def values(group, key, digits, unit=""):
    return tables.column([summary[key] for summary in group.summaries], digits, unit)


def compression(group):
    numbers = [summary["compression"] for summary in group.summaries]
    return tables.column(numbers, 1 if all(number and 1 < number < 9.95 for number in numbers) else 0, "x")


def accuracy(group, key):
    if any(key not in summary for summary in group.summaries):
        return ""   # the first runs'
    return tables.column([1 - summary[key] / 100 for summary in group.summaries], 3)


#: name : (title, headers, callable(groups) -> rows)
TABLES = {
    "lenet": ("Table 1: LeNets on MNIST", HEADERS, networks("lenet-300-100", "lenet-5-caffe")),
    "vgg-like": ("Figure 3 as a table: VGG-like networks of width k on CIFAR", HEADERS, networks("vgg-like")),
    "units": ("Whole units: LeNets on MNIST, by the table of Structured Bayesian Pruning", UNITS_HEADERS, units),
    "texts": ("Texts: sparse recurrent networks (2017, 2018)", TEXT_HEADERS, texts),
    "random-labels": ("Table 2: random labels", ACCURACY_HEADERS, random_labels),
    "logistic-regression": ("Logistic regression (the authors' workshop poster, 2016)", ACCURACY_HEADERS,
                            logistic_regression),
}


if __name__ == "__main__":
    status.main(main)
