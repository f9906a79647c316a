"""Random labels (paper, table 2): binary dropout learns them by heart, SparseVD refuses and prunes all weights.

    python experiments/random_labels.py                             SparseVD, LeNet-300-100 on MNIST
    python experiments/random_labels.py --method binary-dropout --k 4 --dropout-rate 0.1 --learning-rate 3e-4
                                                                    four times as wide, to learn labels by heart
    python experiments/random_labels.py --architecture vgg-like --dataset cifar10

The training set's labels are drawn uniformly from --seed; the test set keeps its own.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from functools import partial

from nets.architectures import lenet_300_100, vgg_like
from nets.schedules import LinearDecay, LinearWarmUp
from experiments.common import cli, experiment

ARCHITECTURES = {"lenet-300-100": ("LeNet-300-100", lenet_300_100), "vgg-like": ("VGG-like", vgg_like)}

DENSE = dict(learning_rate=LinearDecay(1e-3, 100, 200))

# As for the genuine labels: 200 epochs of batches of 100, Adam with beta1 0.9; weights of log alpha >= 3 are pruned.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(1e-3, 100, 200),        # from epoch 100 on it falls linearly, to 0 at 200
        kl_weight=LinearWarmUp(5, 20),                    # the weight of the KL term grows from 0 to 1 between these
        log_sigma2=-10.0,                                 # where log sigma^2 starts
        train_clip=True),                                 # pruned weights are left out of the mean in training too
    "dense": DENSE,
    "binary-dropout": DENSE,
}


def main():
    options = cli.parse(__doc__, "random_labels", dataset="mnist", architecture="lenet-300-100", method="sparse-vd",
                        epochs=200, k=1.0, random_labels=True)
    name, build = ARCHITECTURES[options.architecture]
    experiment.train(options, f"{name}, k = {options.k:g}", partial(build, k=options.k), HYPER_PARAMETERS)


if __name__ == "__main__":
    cli.main(main)
