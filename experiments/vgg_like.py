"""SparseVD on the VGG-like network (paper, figure 3): CIFAR, 13 convolutions and 2 dense layers of width k.

    python experiments/vgg_like.py --pretrain binary-dropout  as in the paper: the dense network with binary dropout
                                                              first, then SparseVD from its weights; 200 epochs each
    python experiments/vgg_like.py --k 0.25                   a sixteenth of the weights
    python experiments/vgg_like.py --dataset cifar100-coarse  the 20 classes that the original code used
    python experiments/vgg_like.py --resume FOLDER            goes on with a run that was stopped

From a random start, SparseVD is known to underfit here. On two cores an epoch takes about a minute at k = 0.25.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import LinearDecay, LinearWarmUp

# The published script's rate is 1e-5; docs/accuracy.md has what validation images say of it.
DENSE = dict(learning_rate=LinearDecay(1e-3, begin=100, end=200), l2=1e-5)

EXPERIMENT = Experiment(
    name="vgg_like",
    networks=("vgg-like",),
    dataset="cifar10",
    epochs=200,
    defaults=dict(batch_size=100),
    methods={
        "sparse-vd": dict(
            learning_rate=LinearDecay(1e-3, begin=100, end=200),  # from epoch 100 on it falls linearly, to 0 at 200
            warm_up=LinearWarmUp(begin=5, end=20),   # the weight of the KL term grows from 0 to 1 between these
            log_sigma2=-10.0,                        # where log sigma^2 starts,
            log_sigma2_from_weights=-15.0,           # and where it does with the weights of another network
            threshold=3.0,                           # weights of log alpha >= 3 are pruned,
            train_clip=False),                       # but not left out in training
        "dense": DENSE,
        "binary-dropout": DENSE,
        # From a dense network's weights. Batch normalization goes on moving here; in the authors' script it is frozen,
        # and the rate is 1e-5, ten times that for the noise, over 250 to 300 epochs. Untried.
        "sbp": dict(learning_rate=LinearDecay(1e-4, begin=100, end=200), noise_rate=10.0),
        # As the LeNets; untried.
        "finetune": dict(epochs=50, learning_rate=LinearDecay(1e-4, begin=0, end=50)),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
