"""SparseVD on LeNet-300-100 (paper, table 1): trains 784-300-100-10, prunes it while it trains.

    python experiments/lenet_300_100.py                       MNIST, 200 epochs, as in the original
    python experiments/lenet_300_100.py --dataset digits      no download, under a minute
    python experiments/lenet_300_100.py --method dense        the network to compare with
    python experiments/lenet_300_100.py --pretrain dense      both: SparseVD from the dense network's weights
    python experiments/lenet_300_100.py --resume FOLDER       goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

from nets.architectures import lenet_300_100
from nets.schedules import LinearDecay, LinearWarmUp
from experiments.common import cli, experiment

# As in LeNet-5-Caffe's script: the original has none for a dense LeNet-300-100.
DENSE = dict(learning_rate=LinearDecay(1e-4, 100, 200), augment=True)

# The original's. 200 epochs of batches of 100, Adam with beta1 0.9; weights of log alpha >= 3 are pruned.
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
    options = cli.parse(__doc__, "lenet_300_100", dataset="mnist", method="sparse-vd", epochs=200)
    experiment.train(options, "LeNet-300-100", lenet_300_100, HYPER_PARAMETERS)


if __name__ == "__main__":
    cli.main(main)
