"""Error and compression of a finished SparseVD run by the threshold on log alpha, and log alpha's histogram.

    python experiments/threshold_sweep.py results/RUN
    python experiments/threshold_sweep.py results/RUN --thresholds 3 1 0.5 0

The weights stay as they were trained; only the cut is moved, as a training's --final-threshold does in the end. To
choose one, take a run trained with --validation, whose errors are of training images held out; errors of the test set
are to inform.

Leaves thresholds.json and thresholds.png in the run's folder.
"""

import os

import _setup  # noqa: F401  must come first: prepares Theano

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from experiments.common import status
from experiments.common.finished import FinishedRun
from nets import methods
from nets.layers.sparse_vd import SparseVDLayer
from nets.params import named_params
from nets.sparsity import log_alphas
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
    dataset = run.dataset(args.data_dir)
    _, net = run.trained(dataset)
    found = log_alphas(net)
    if not found:
        raise UserError(f"{args.run} is a run of {run.summary['method_title']}, which has no log alpha")
    images = "images held out (--validation)" if run.summary["validation"] else "test images"
    swept = sweep(run, net, found, dataset, sorted(args.thresholds, reverse=True))
    files.write_json(os.path.join(args.run, "thresholds.json"), {"images": images, **swept})
    print(tabulate([(row["threshold"], row["error_percent"], row["compression"] or "all pruned")
                    for row in swept["thresholds"]],
                   ("log alpha <", f"Error %, {images}", "Compression"), floatfmt=("g", ".2f", ".1f")))
    picture = os.path.join(args.run, "thresholds.png")
    plots.draw_thresholds(swept, picture, f"{run.title}, {run.summary['dataset_title']}, {run.name}", images)
    print(f"\nIn {args.run}: thresholds.json, thresholds.png")


def sweep(run, net, log_alpha, dataset, thresholds):
    """Error and compression for each threshold, and the histogram of log alpha by layer; JSON's types."""
    values = {name: param.get_value() for name, param in named_params(net, training_only=False).items()}
    # The dense network that holds the pruned weights predicts the same.
    dense = run.build(methods.make("dense"), dataset)
    params, predictor = named_params(dense), Predictor(dense)
    rows = []
    for threshold in tqdm(thresholds, desc="thresholds", leave=False, disable=None):
        for name, param in params.items():
            layer, _, kind = name.rpartition(".")
            pruned = kind == "W" and log_alpha[layer] >= threshold
            param.set_value(np.where(pruned, 0, values[name]).astype(param.dtype))
        found = compression.total(predictor.count_layers())
        rows.append({"threshold": threshold, "nonzero": found.nonzero,
                     "error_percent": predictor.evaluate(dataset.test).error_percent,
                     "compression": found.compression if found.nonzero else None})
    edges = np.linspace(-SparseVDLayer.CLIP, SparseVDLayer.CLIP, BINS + 1)
    return {"thresholds": rows, "edges": edges.tolist(),
            "histogram": {name: np.histogram(values, edges)[0].tolist() for name, values in log_alpha.items()}}


if __name__ == "__main__":
    status.main(main)
