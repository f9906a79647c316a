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

from nets import methods
from nets.architectures import lenet_300_100
from nets.schedules import LinearDecay, LinearWarmUp
from nets.layers.sparse_vd import PARAMETERIZATIONS
from nets.sparsity import weight_layers
from experiments.common import cli, experiment
from utils import files
from nets.training.gradient_noise import GradientNoise

MEASUREMENTS = 20       # spread evenly over the epochs, besides one before the first
BATCH = 100             # images
DRAWS = 100             # of the noise

# Those of lenet_300_100.py.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(1e-3, 100, 200),
        kl_weight=LinearWarmUp(5, 20),
        log_sigma2=-10.0,
        train_clip=True),
}


def main():
    options = cli.parse(__doc__, "gradient_variance", dataset="mnist", method="sparse-vd", epochs=200)
    every = max(1, options.epochs // MEASUREMENTS)
    noises = {}

    def measure(epoch, run, net, dataset):
        if epoch % every and epoch != options.epochs:
            return
        if not noises:
            noises.update((name, noise_of(name, dataset)) for name in PARAMETERIZATIONS)
        path = run.path("gradient_variance.json")
        # An epoch that is trained again after a crash may stand there already.
        rows = [row for row in stored(path) if row["epoch"] < epoch]
        files.write_json(path, {"batch": BATCH, "draws": DRAWS, "rows": rows + measured(epoch, noises, net, dataset)})

    run, _ = experiment.train(options, "LeNet-300-100", lenet_300_100, HYPER_PARAMETERS, after_epoch=measure)
    print(table(stored(run.path("gradient_variance.json"))))


def noise_of(parameterization, dataset):
    net = lenet_300_100(methods.sparse_vd(parameterization=parameterization), dataset.train.inputs.shape[1:],
                        dataset.num_classes)
    return GradientNoise(net, len(dataset.train))


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


def stored(path):
    return files.read_json(path)["rows"] if os.path.exists(path) else []


def table(rows):
    return tabulate([(row["epoch"], row["layer"], row["additive"], row["multiplicative"],
                      row["multiplicative"] / row["additive"]) for row in rows],
                    ("After epoch", "Layer", "Variance, additive noise", "multiplicative noise", "ratio"),
                    floatfmt=("", "", ".2e", ".2e", ".3g"))


if __name__ == "__main__":
    cli.main(main)
