"""Random labels (paper, table 2): binary dropout learns them by heart, SparseVD refuses and prunes all weights.

    python experiments/random_labels.py                             SparseVD, LeNet-300-100 on MNIST
    python experiments/random_labels.py --method binary-dropout --k 4 --dropout-rate 0.05 --learning-rate 3e-4 \\
        --epochs 300                                                four times as wide, to learn labels by heart
    python experiments/random_labels.py --network vgg-like --dataset cifar10

The training set's labels are drawn uniformly from --seed; the test set keeps its own.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from experiments.lenet_300_100 import EXPERIMENT as GENUINE
from nets.schedules import LinearDecay

DENSE = dict(learning_rate=LinearDecay(1e-3, begin=100, end=200))

EXPERIMENT = Experiment(
    name="random_labels",
    networks=("lenet-300-100", "vgg-like"),
    dataset="mnist",
    epochs=200,
    defaults=dict(random_labels=True, batch_size=100),
    methods={"sparse-vd": GENUINE.methods["sparse-vd"], "dense": DENSE, "binary-dropout": DENSE})


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
