"""SparseVD on LeNet-300-100 (paper, table 1): trains 784-300-100-10, prunes it while it trains.

    python experiments/lenet_300_100.py                       MNIST, 200 epochs, as in the original
    python experiments/lenet_300_100.py --dataset digits      no download, under a minute
    python experiments/lenet_300_100.py --resume FOLDER       goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

import data
from nets.architectures import lenet_300_100
from nets.methods import sparse_vd
from nets.schedules import LinearDecay, LinearWarmUp
from utils import cli, report, runs
from utils.training import Trainer, fit, seed_generators

# The original's hyper-parameters.
EPOCHS = 200
BATCH_SIZE = 100
LEARNING_RATE = 1e-3       # Adam, beta1 0.9
DECAY_BEGINS = 100         # from this epoch on, the learning rate falls linearly to 0
KL_WARM_UP = 5, 20         # the weight of the KL term grows linearly from 0 to 1 between these epochs
THRESHOLD = 3.0            # weights of log alpha >= 3 are pruned: dropout rate over 0.95
LOG_SIGMA2 = -10.0         # where log sigma^2 starts
TRAIN_CLIP = True          # pruned weights are left out of the mean in training too


def main():
    options = cli.parse(__doc__, "lenet_300_100", dict(dataset="mnist", epochs=EPOCHS, batch_size=BATCH_SIZE, seed=1,
                                                       threshold=THRESHOLD))
    stretch = options.epochs / EPOCHS
    learning_rate = LinearDecay(LEARNING_RATE, begin=DECAY_BEGINS * stretch, end=options.epochs)
    kl_weight = LinearWarmUp(*(epoch * stretch for epoch in KL_WARM_UP))
    dataset = data.load(options.dataset, options.data_dir)
    run = runs.start("lenet_300_100", options, dataset, network="LeNet-300-100", method="SparseVD",
                     learning_rate=learning_rate, kl_weight=kl_weight, log_sigma2=LOG_SIGMA2, train_clip=TRAIN_CLIP)

    shuffling = seed_generators(options.seed)
    net = lenet_300_100(sparse_vd(options.threshold, TRAIN_CLIP, LOG_SIGMA2), num_classes=dataset.num_classes)
    trainer = Trainer(net, num_examples=len(dataset.train_images))
    history, completed = fit(trainer, dataset, run, epochs=options.epochs, batch_size=options.batch_size,
                             learning_rate=learning_rate, kl_weight=kl_weight, shuffling=shuffling)
    report.finish(run, trainer, history, completed)


if __name__ == "__main__":
    cli.main(main)
