"""Puts a run of the original repository beside one of ours: error, sparsity, compression, and curves in one picture.

    python experiments/compare_original.py --run results/lenet_300_100-mnist-seed1 --log logs/....txt
    python experiments/compare_original.py --run results/lenet_300_100-mnist-seed1 --weights weights/....npy
    python experiments/compare_original.py --run results/lenet_300_100-mnist-seed1 --export ours.npy

A weight file of the original is loaded into our network of the run's name (nothing in it is executed) and evaluated on
the run's data set. Compression is weights / non-zero weights, for both.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from tabulate import tabulate

from experiments.common import status
from experiments.common.finished import FinishedRun
from nets import methods
from nets.params import named_params
from nets.training import warm_start
from nets.training.trainer import Predictor
from utils import original_format, plots, published, results, tables
from utils.compression import total
from utils.errors import UserError
from utils.runs import sparsity_columns

HEADERS = ("Network", "Whose", "Error %", "Sparsity per layer %", "Compression")
EPOCHS_SHOWN = 10


def main():
    args = parse()
    run = FinishedRun(args.run)
    if run.task:
        raise UserError(f"{args.run} is of a network of texts: the original repository has networks of images alone")
    rows = [row("ours, " + run.name, run.summary["test_error_percent"], run.layers)]
    for paper in published.rows(run.summary["network"], run.summary["k"], run.summary["method"]):
        rows.append((f"the paper's, {paper.dataset}", f"{paper.error_percent:.2f}",
                     tables.format_sparsity(paper.sparsity_percent), tables.format_compression(paper.compression)))
    theirs = None
    if args.log:
        theirs = original_format.read_log(args.log)
        check_layers(args.log, theirs[-1]["sparsity_percent"], run.layers)
        rows.append(row(f"the original's log, epoch {theirs[-1]['epoch']}", theirs[-1]["test_error_percent"],
                        with_sparsity(run.layers, theirs[-1]["sparsity_percent"])))
        # The last row's error may be of shifted and mirrored test images: both are shown.
        final = original_format.read_final_error(args.log)
        if final is not None:
            rows.append(row("the same, its last line (plain test images)", final,
                            with_sparsity(run.layers, theirs[-1]["sparsity_percent"])))
    if args.weights:
        error_percent, layers = evaluate(args.weights, run, args)
        rows.append(row("the original's weights, evaluated here" + (
            " (test images)" if run.summary["validation"] else ""), error_percent, layers))
    print(tabulate([(run.title, *cells) for cells in rows], HEADERS, stralign="left", disable_numparse=True))

    if theirs:
        print("\n" + by_epoch(run, theirs))
        plots.draw_comparison(our_curves(run), original_curves(theirs, run.layers), args.picture,
                              f"{run.title}, {run.summary['dataset_title']}")
        print(f"\nCurves: {args.picture}")
    if args.export:
        # SparseVD's in the original's parameterization; pruned weights of other methods as a dense network's.
        sparse = run.summary["method"] == "sparse-vd"
        net = run.build(methods.make("sparse-vd" if sparse else "dense"))
        warm_start.Weights.read(args.run, "weights.npz" if sparse else "weights_pruned.npz").copy_to(net)
        original_format.write_weights(args.export, [param.get_value() for param in named_params(net).values()])
        print(f"\nThe run's weights in the original's format: {args.export}")
        if run.summary["network"] == "vgg-like" and not sparse:
            print("The original's dense VGG applies a second rectifier to its last hidden layer, so these weights "
                  "predict something else there.")
        own = run.settings["dataset"]
        theirs = original_format.preprocessing(own["name"])
        if theirs and own.get("preprocessing") != theirs:
            print(f"The run's images were not whitened by --preprocessing {theirs}: those of the original are, and of "
                  "--weights here.")


def parse():
    parser = status.Parser("compare_original", __doc__)
    add = parser.add_argument
    add("--run", required=True, metavar="FOLDER", help="a finished run of this project")
    add("--log", metavar="FILE", help="a log of the original: experiments/logs/....txt")
    add("--weights", metavar="FILE", help="a weight file of the original: experiments/weights/....npy")
    add("--export", metavar="FILE", help="write the run's weights in the original's format")
    add("--picture", metavar="FILE", default="comparison.png", help="where the curves go (default: comparison.png)")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    args = parser.parse_args()
    if not (args.log or args.weights or args.export):
        raise UserError("nothing to compare: give --log, --weights or --export")
    return args


def our_curves(run):
    rows = results.history(run.folder)
    columns = sparsity_columns(rows[0] if rows else ()).values()
    return [{"epoch": int(row["epoch"]), "test_error_percent": row["test_error_percent"],
             "train_error_percent": row["train_error_percent"], "sparsity_percent": total(
                 with_sparsity(run.layers, [row[column] for column in columns])).sparsity_percent} for row in rows]


def original_curves(rows, layers):
    return [{**row, "sparsity_percent": total(
        with_sparsity(layers, row["sparsity_percent"])).sparsity_percent} for row in rows]


def with_sparsity(layers, percent):
    """The layers with the given sparsities; without any, nothing is pruned."""
    percent = percent or [0.0] * len(layers)
    return [layer._replace(nonzero=layer.weights * (1 - share / 100)) for layer, share in zip(layers, percent)]


def check_layers(path, percent, layers):
    if percent and len(percent) != len(layers):
        raise UserError(f"{path} is of another network: it tells the sparsity of {len(percent)} layers, the run has "
                        f"{len(layers)}")


def evaluate(path, run, args):
    """Test error in percent and sparsity of a weight file of the original, on the run's data."""
    own = {"validation": None}      # the authors trained on all training images
    theirs = original_format.preprocessing(run.settings["dataset"]["name"])
    if theirs:
        own["preprocessing"] = theirs
    dataset, weights = run.dataset(args.data_dir, **own), warm_start.Weights.read(path)
    net = run.build(methods.make("sparse-vd"), dataset) if run.summary["method"] == "sparse-vd" else None
    if net is None or weights.copy_to(net):
        # Nothing of it is pruned.
        keywords = {"rectified_twice": True} if run.summary["network"] == "vgg-like" else {}
        net = run.build(methods.make("dense"), dataset, **keywords)
        weights.copy_to(net)
    predictor = Predictor(net)
    return predictor.evaluate(dataset.test).error_percent, predictor.count_layers()


def row(whose, error_percent, layers):
    return (whose, f"{error_percent:.2f}", tables.format_sparsity(layer.sparsity_percent for layer in layers),
            tables.format_compression(total(layers).compression))


def by_epoch(run, theirs):
    """Both runs side by side, at about EPOCHS_SHOWN epochs that both have."""
    ours = {row["epoch"]: row for row in our_curves(run)}
    theirs = {row["epoch"]: row for row in original_curves(theirs, run.layers)}
    common = sorted(ours.keys() & theirs.keys())
    shown = common[::max(1, len(common) // EPOCHS_SHOWN)]
    shown += common[-1:] if common and shown[-1] != common[-1] else []
    keys = ("test_error_percent", "sparsity_percent")
    return tabulate([(epoch, *(side[epoch][key] for key in keys for side in (ours, theirs))) for epoch in shown],
                    ("Epoch", "Error %, ours", "theirs", "Sparsity %, ours", "theirs"), floatfmt=".2f")


if __name__ == "__main__":
    status.main(main)
