"""Structured Bayesian Pruning on LeNet-500-300 (its paper's table): 784-500-300-10, pruned by whole units.

    python experiments/lenet_500_300.py --pretrain dense      MNIST: the dense network, then noise on its units
    python experiments/lenet_500_300.py --method dense        the dense network alone
    python experiments/lenet_500_300.py --method sparse-vd    by single weights, to compare
    python experiments/lenet_500_300.py --resume FOLDER       goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from experiments.lenet_300_100 import EXPERIMENT as LENET_300_100
from nets.schedules import LinearDecay

EXPERIMENT = Experiment(
    name="lenet_500_300",
    networks=("lenet-500-300",),
    dataset="mnist",
    epochs=200,
    defaults=dict(batch_size=100),
    methods={
        # No script of the authors' is published for this network. log_sigma, the rate and beta1 are those of theirs for
        # LeNet-5; noise_rate is that for VGG-like. The weights of the KL term by layer are ours, chosen on 5,000
        # validation images in runs of 12 and 14 epochs: with 1, 426-404-268 units were left, at 1.18 %; with 10,
        # 162-112-64, at 1.72 %; with 4, 6 and 15, 269-149-38, at 1.24 %.
        "sbp": dict(
            epochs=100, learning_rate=LinearDecay(1e-3, begin=50, end=100), log_sigma=-5.0, noise_rate=10.0,
            kl_weight=[6.0, 6.0, 15.0]),
        "dense": dict(epochs=60, learning_rate=LinearDecay(1e-3, begin=30, end=60), augment=True),
        "sparse-vd": LENET_300_100.methods["sparse-vd"],
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
