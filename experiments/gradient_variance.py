"""The variance of the gradient with additive and with multiplicative noise, at the same weights (paper, figure 2).

    python experiments/gradient_variance.py                       LeNet-300-100 on MNIST, 200 epochs
    python experiments/gradient_variance.py --dataset digits --epochs 20

LeNet-300-100 is trained with SparseVD. After some of its epochs, two networks get its posterior, one parameterized by
log sigma^2 and one by log alpha, and for one batch the gradients of each to theta are drawn many times. The table shows
their variance over the draws, averaged over a layer's weights, and how many times it is larger with multiplicative
noise.
"""

import _setup  # noqa: F401  must come first: prepares Theano

import os
from collections import defaultdict

from tabulate import tabulate
from tqdm import tqdm

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from experiments.lenet_300_100 import EXPERIMENT as LENET
from nets import methods
from nets.architectures import NETWORKS
from nets.layers.sparse_vd import PARAMETERIZATIONS
from nets.sparsity import weight_layers
from nets.training.gradient_noise import GradientNoise
from utils import files, results

MEASUREMENTS = 20       # spread evenly over the epochs, besides one before the first
BATCH = 100             # images
DRAWS = 100             # of the noise

EXPERIMENT = Experiment(name="gradient_variance", networks=LENET.networks, dataset=LENET.dataset, epochs=LENET.epochs,
                        defaults=LENET.defaults, methods={"sparse-vd": LENET.methods["sparse-vd"]})


class Measurement:
    """What is done after an epoch; the networks that it needs are built when the first one comes."""

    def __init__(self):
        self.noises = {}

    def __call__(self, epoch, run, trainer, dataset):
        epochs = run.config["settings"]["training"]["epochs"]
        if epoch % max(1, epochs // MEASUREMENTS) and epoch != epochs:
            return
        rows = stored(run.folder)
        # After a crash, an epoch may come again; it ends with the same weights.
        if any(row["epoch"] == epoch for row in rows):
            return
        if not self.noises:
            self.noises.update((name, noise_of(name, trainer.method, dataset)) for name in PARAMETERIZATIONS)
        rows += measured(epoch, self.noises, trainer.net, dataset)
        files.write_json(run.path("gradient_variance.json"), {"batch": BATCH, "draws": DRAWS, "rows": rows})


def print_table(run, dataset):
    print(table(stored(run.folder)))


def noise_of(parameterization, trained, dataset):
    method = methods.make(**{**methods.described(trained), "initial_threshold": None,
                             "parameterization": parameterization})
    net = NETWORKS[LENET.networks[0]].build(method, dataset.train.inputs.shape[1:], dataset.num_classes)
    return GradientNoise(net, method, len(dataset.train.inputs))


def measured(epoch, noises, net, dataset):
    layers = weight_layers(net)
    variances = defaultdict(dict)
    with tqdm(total=DRAWS * len(noises), desc="drawing gradients", leave=False, disable=None) as progress:
        for name, noise in noises.items():
            noise.set_posterior(layers)
            found = noise.variances(dataset.train.inputs[:BATCH], dataset.train.targets[:BATCH], DRAWS, progress)
            for layer, variance in zip(layers, found):
                variances[layer.name][name] = variance
    return [{"epoch": epoch, "layer": layer, **values} for layer, values in variances.items()]


def stored(folder):
    path = os.path.join(folder, "gradient_variance.json")
    return results.read_gradient_variance(folder)["rows"] if os.path.exists(path) else []


def table(rows):
    return tabulate([(row["epoch"], row["layer"], row["additive"], row["multiplicative"],
                      row["multiplicative"] / row["additive"] if row["additive"] else None) for row in rows],
                    ("After epoch", "Layer", "Variance, additive noise", "multiplicative noise", "ratio"),
                    floatfmt=("", "", ".2e", ".2e", ".3g"))


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__, after_epoch=Measurement(), after_run=print_table)
