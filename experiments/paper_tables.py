"""The paper's table 1 beside what was measured: mean (standard deviation) over the seeds found under results/.

    python experiments/paper_tables.py
    python experiments/paper_tables.py --format github        for a Markdown file
"""

import argparse

import _setup  # noqa: F401  must come first

from tabulate import tabulate

from utils import cli, published, report, results

NOT_SPARSE = "Dense", "Binary dropout"
HEADERS = ("Network", "Method", "Data set", "Epochs", "Runs", "Error %", "Sparsity per layer %", "Compression")


def main():
    parser = argparse.ArgumentParser(prog="experiments/paper_tables.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="results", metavar="FOLDER", help="where the runs' folders are")
    parser.add_argument("--format", default="simple", choices=("simple", "github", "latex"), help="of the table")
    args = parser.parse_args()

    groups = results.collect(args.results)
    rows = []
    for network in dict.fromkeys(row.network for row in published.rows()):
        rows += [published_row(row) for row in published.rows(network)]
        rows += [measured_row(group) for group in groups if group.network == network]
    print(tabulate(rows, HEADERS, args.format, stralign="left", disable_numparse=True))


def published_row(row):
    return (row.network, f"{row.method}, paper", row.dataset, "", "", f"{row.error_percent:.2f}",
            report.format_sparsity(row.sparsity_percent), report.format_compression(row.compression))


def measured_row(group):
    def column(values, digits, unit=""):
        pruned = values.count(None)  # wholly pruned networks have no compression
        if pruned:
            return "all pruned" if pruned == len(values) else f"all pruned in {pruned} of {len(values)}"
        mean, deviation = results.mean_and_deviation(values)
        return f"{mean:.{digits}f}{unit}" + ("" if deviation is None else f" ({deviation:.{digits}f})")

    layers = group.summaries[0]["sparsity_percent"]
    start = "" if group.start == "random" else f" from {group.start.lower()}"
    flags = group.flags and f", {group.flags}"
    return (group.network, f"{group.method}{start}{flags}, measured", group.dataset, group.epochs, len(group.summaries),
            column([summary["test_error_percent"] for summary in group.summaries], 2),
            "" if group.method in NOT_SPARSE else " - ".join(
                column([summary["sparsity_percent"][layer] for summary in group.summaries], 1) for layer in layers),
            column([summary["compression"] for summary in group.summaries], 0, "x"))


if __name__ == "__main__":
    cli.main(main)
