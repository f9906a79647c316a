"""One page to look at all runs, compare them and pick one.

    python experiments/results_page.py                      writes results/index.html, which opens from disk
    python experiments/results_page.py --serve              shows the same, and follows runs that are training
    python experiments/results_page.py results results/quick --output page.html

A folder is one that holds runs' folders, or a run's own.
"""

import argparse
import os

import _setup  # noqa: F401  must come first

from experiments.common import status
from utils.page import document, server


def main():
    args = parse()
    runs = document.Runs(args.folders)
    skipped = f", {len(runs.broken)} skipped" if runs.broken else ""
    if args.serve:
        print(f"{len(runs.records)} runs{skipped}")
        server.serve(runs, args.host, args.port)
        return
    output = args.output or os.path.join(args.folders[0], "index.html")
    document.write(runs, output)
    print(f"{output}: {len(runs.records)} runs{skipped}, {os.path.getsize(output) / 1e6:.1f} MB")


def parse():
    parser = status.Parser("results_page", __doc__)
    add = parser.add_argument
    add("folders", nargs="*", default=["results"], metavar="FOLDER", help="where the runs are (default: results)")
    add("--output", metavar="FILE", help="the page (default: index.html in the first FOLDER)")
    add("--serve", action="store_true", help="serve the page and follow runs instead of writing it")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="where to serve; another address than the default one shows the runs to all who reach it (default: "
             "127.0.0.1)")
    add("--port", type=port, default=8765, metavar="N", help="0 takes a free one (default: 8765)")
    args = parser.parse_args()
    if args.serve and args.output:
        parser.error("--output is where the page is written, --serve writes none: give one of them")
    if not args.serve and parser.given(args, ("host", "port")):
        parser.error("--host and --port are of --serve: give that too")
    return args


def port(text):
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{value} is no port")
    return value


if __name__ == "__main__":
    status.main(main)
