"""Error and compression of a finished SparseVD run by the threshold on log alpha, and log alpha's histogram.

    python experiments/threshold_sweep.py results/RUN
    python experiments/threshold_sweep.py results/RUN --thresholds 3 1 0.5 0

The weights stay as they were trained; only the cut is moved, as a training's --final-threshold does in the end. To
choose one of images, take a run trained with --validation, whose errors are of training images held out; errors of the
test set are to inform. Of texts, choose by the validation column.

Leaves thresholds.json and thresholds.png in the run's folder.
"""

import os

import _setup  # noqa: F401  must come first: prepares Theano

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from experiments.common import status
from experiments.common.finished import FinishedRun
from nets.layers.posterior import WeightPosterior
from nets.sparsity import cut_at, log_alphas
from nets.training.trainer import Predictor
from utils import compression, files, plots
from utils.errors import UserError
from utils.flags import number

THRESHOLDS = tuple(np.arange(-4, 6.01, 0.25).tolist())
BINS = 80       # of the histogram, over the clip's range


def main():
    parser = status.Parser("threshold_sweep", __doc__)
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run with SparseVD, with its weights.npz")
    parser.add_argument("--thresholds", nargs="+", type=number, default=THRESHOLDS, metavar="X",
                        help="(default: -4 to 6 in steps of 0.25)")
    parser.add_argument("--data-dir", metavar="FOLDER",
                        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    args = parser.parse_args()
    run = FinishedRun(args.run)
    if run.summary["method"] != "sparse-vd":
        raise UserError(f"{args.run} is a run of {run.summary['method_title']}, which has no log alpha")
    dataset = run.texts(args.data_dir) if run.task else run.dataset(args.data_dir)
    thresholds = sorted(args.thresholds, reverse=True)
    # Nothing but the cut prunes.
    _, net = run.trained(dataset, threshold=thresholds[0])
    predictor = Predictor(net, run.source.task())
    if run.task:
        images, splits = "validation data", {"": dataset.valid, "test_": dataset.test}
    else:
        images = "images held out (--validation)" if run.summary["validation"] else "test images"
        splits = {"": dataset.test}
    measure = predictor.task.measure
    name, title = (measure.name, measure.name.capitalize()) if measure else ("error_percent", "Error %")
    swept = {"images": images, **sweep(net, predictor, splits, thresholds)}
    files.write_json(os.path.join(args.run, "thresholds.json"), swept)
    print(tabulate([(row["threshold"], *(row[split + name] for split in splits), row["compression"] or "all pruned")
                    for row in swept["thresholds"]],
                   ("log alpha <", f"{title}, {images}", *([f"{title}, test"] if run.task else ()), "Compression"),
                   floatfmt=("g", *[".4f" if measure else ".2f"] * len(splits), ".1f")))
    picture = os.path.join(args.run, "thresholds.png")
    plots.draw_thresholds(swept, picture, f"{run.title}, {run.summary['dataset_title']}, {run.name}", images)
    print(f"\nIn {args.run}: thresholds.json, thresholds.png")


def sweep(net, predictor, splits, thresholds):
    """Errors and compression for each threshold, from the highest on, and the histogram of log alpha by array.

    What the errors of each split are called begins with the split's name. All is of JSON's types.
    """
    edges = np.linspace(-WeightPosterior.CLIP, WeightPosterior.CLIP, BINS + 1)
    log_alpha = log_alphas(net)
    histogram = {title: np.histogram(values, edges)[0].tolist() for title, values in log_alpha.items()}
    measure, rows = predictor.task.measure, []
    for threshold in tqdm(thresholds, desc="thresholds", leave=False, disable=None):
        cut_at(net, threshold, log_alpha)
        found = compression.total(predictor.count_layers())
        row = {"threshold": threshold, "nonzero": found.nonzero,
               "compression": found.compression if found.nonzero else None}
        for name, split in splits.items():
            evaluation = predictor.evaluate(split)
            row[f"{name}error_percent"] = evaluation.error_percent
            if measure:
                row[name + measure.name] = measure.of(evaluation)
        rows.append(row)
    return {"thresholds": rows, "edges": edges.tolist(), "histogram": histogram}


if __name__ == "__main__":
    status.main(main)
