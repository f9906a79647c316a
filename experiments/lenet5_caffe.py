"""SparseVD on LeNet-5-Caffe (paper, table 1): conv 20, conv 50, dense 500, dense 10, pruned while it trains.

    python experiments/lenet5_caffe.py                        MNIST, 200 epochs, as in the original
    python experiments/lenet5_caffe.py --method dense         the network to compare with
    python experiments/lenet5_caffe.py --resume FOLDER        goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

from nets.architectures import lenet_5_caffe
from nets.schedules import LinearDecay, LinearWarmUp
from utils import cli, experiment

EPOCHS = 200
BATCH_SIZE = 100
THRESHOLD = 3.0                                           # weights of log alpha >= 3 are pruned: dropout rate over 0.95
DENSE = dict(learning_rate=LinearDecay(1e-4, 100, 200))

# The original's. Adam's beta1 is 0.9; the learning rate falls linearly to 0 between the two epochs.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(1e-3, 0, 200),
        kl_weight=LinearWarmUp(5, 20),                    # the weight of the KL term grows from 0 to 1 between these
        log_sigma2=-10.0,                                 # where log sigma^2 starts
        train_clip=True),                                 # pruned weights are left out of the mean in training too
    "dense": DENSE,
    "binary-dropout": DENSE,
}


def main():
    options = cli.parse(__doc__, "lenet5_caffe", dataset="mnist", method="sparse-vd", epochs=EPOCHS,
                        batch_size=BATCH_SIZE, seed=1, threshold=THRESHOLD,
                        by_method=("learning_rate", "log_sigma2"))
    experiment.train(options, "LeNet-5-Caffe", lenet_5_caffe, HYPER_PARAMETERS)


if __name__ == "__main__":
    cli.main(main)
