"""SparseVD on the VGG-like network (paper, figure 3): CIFAR, 13 convolutions and 2 dense layers of width k.

    python experiments/vgg_like.py --pretrain binary-dropout  as in the paper: the dense network with binary dropout
                                                              first, then SparseVD from its weights; 200 epochs each
    python experiments/vgg_like.py --k 0.25                   a sixteenth of the weights
    python experiments/vgg_like.py --dataset cifar100-coarse  the 20 classes that the original code used
    python experiments/vgg_like.py --resume FOLDER            goes on with a run that was stopped

From a random start, SparseVD is known to underfit here. On two cores an epoch takes about a minute at k = 0.25.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from functools import partial

from nets.architectures import vgg_like
from nets.schedules import LinearDecay, LinearWarmUp
from experiments.common import cli, experiment

# The published script's 1e-5 is too little for 200 epochs from a random start; see --learning-rate.
DENSE = dict(learning_rate=LinearDecay(1e-3, 100, 200), l2=1e-5)

# 200 epochs of batches of 100, Adam with beta1 0.9; weights of log alpha >= 3 are pruned.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(1e-3, 100, 200),        # from epoch 100 on it falls linearly, to 0 at 200
        kl_weight=LinearWarmUp(5, 20),                    # the weight of the KL term grows from 0 to 1 between these
        log_sigma2=-10.0,                                 # where log sigma^2 starts,
        log_sigma2_from_weights=-15.0,                    # and where it does with the weights of another network
        train_clip=False),
    "dense": DENSE,
    "binary-dropout": DENSE,
}


def main():
    options = cli.parse(__doc__, "vgg_like", dataset="cifar10", method="sparse-vd", epochs=200, k=1.0)
    experiment.train(options, f"VGG-like, k = {options.k:g}", partial(vgg_like, k=options.k), HYPER_PARAMETERS)


if __name__ == "__main__":
    cli.main(main)
