"""SparseVD on LeNet-5-Caffe (paper, table 1): conv 20, conv 50, dense 500, dense 10, pruned while it trains.

    python experiments/lenet5_caffe.py                        MNIST, 200 epochs, as in the original
    python experiments/lenet5_caffe.py --method dense         the network to compare with
    python experiments/lenet5_caffe.py --pretrain dense       both: SparseVD from the dense network's weights
    python experiments/lenet5_caffe.py --resume FOLDER        goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

from nets.architectures import lenet_5_caffe
from nets.schedules import LinearDecay, LinearWarmUp
from experiments.common import cli, experiment

DENSE = dict(learning_rate=LinearDecay(1e-4, 100, 200), augment=True)

# The original's. 200 epochs of batches of 100, Adam with beta1 0.9; weights of log alpha >= 3 are pruned.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(1e-3, 0, 200),          # falls linearly from the start, to 0 at epoch 200
        kl_weight=LinearWarmUp(5, 20),                    # the weight of the KL term grows from 0 to 1 between these
        log_sigma2=-10.0,                                 # where log sigma^2 starts
        train_clip=True),                                 # pruned weights are left out of the mean in training too
    "dense": DENSE,
    "binary-dropout": DENSE,
}


def main():
    options = cli.parse(__doc__, "lenet5_caffe", dataset="mnist", method="sparse-vd", epochs=200)
    experiment.train(options, "LeNet-5-Caffe", lenet_5_caffe, HYPER_PARAMETERS)


if __name__ == "__main__":
    cli.main(main)
