"""SparseVD on LeNet-300-100 (paper, table 1): trains 784-300-100-10, prunes it while it trains.

    python experiments/lenet_300_100.py                       MNIST, 200 epochs, as in the original
    python experiments/lenet_300_100.py --dataset digits      no download, under a minute
    python experiments/lenet_300_100.py --method dense        the network to compare with
    python experiments/lenet_300_100.py --pretrain dense      both: SparseVD from the dense network's weights
    python experiments/lenet_300_100.py --resume FOLDER       goes on with a run that was stopped
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import Constant, DroppingDecay, InverseDecay, LinearDecay, LinearWarmUp

# As in LeNet-5-Caffe's script: the original has none for a dense LeNet-300-100.
DENSE = dict(learning_rate=LinearDecay(1e-4, begin=100, end=200), augment=True)

EXPERIMENT = Experiment(
    name="lenet_300_100",
    networks=("lenet-300-100",),
    dataset="mnist",
    epochs=200,
    defaults=dict(batch_size=100),
    methods={
        # The original's values; the optimizer of all methods is Adam with beta1 0.9.
        "sparse-vd": dict(
            learning_rate=LinearDecay(1e-3, begin=100, end=200),  # from epoch 100 on it falls linearly, to 0 at 200
            warm_up=LinearWarmUp(begin=5, end=20),   # the weight of the KL term grows from 0 to 1 between these
            log_sigma2=-10.0,                        # where log sigma^2 starts
            threshold=3.0,                           # weights of log alpha >= 3 are pruned
            train_clip=True),                        # and left out of the mean in training too
        "dense": DENSE,
        "binary-dropout": DENSE,
        "magnitude": dict(
            learning_rate=LinearDecay(1e-3, begin=100, end=200), l2=1e-4,
            ramp=LinearWarmUp(begin=10, end=150),    # epochs between which more and more weights are pruned
            sparsity=[98.9, 97.2, 62.0]),            # percent by layer: those of the paper's SparseVD
        # Published are the sparsity by layer, and that the rate of the retraining is a tenth; not how many rounds:
        # these are the first that were tried, and untuned.
        "pruning": dict(
            epochs=140, l2=2.5e-4,                   # Caffe's weight decay of 5e-4
            learning_rate=DroppingDecay(1e-3, drop=40, begin=120, end=140),
            retraining=LinearWarmUp(begin=40, end=140),   # 40 epochs of dense training, then 5 rounds of 20
            sparsity=[92.0, 91.0, 74.0]),
        # The values of the authors' model files and of Caffe's example; 10,000 iterations are 11 epochs, 25,000 are 27.
        "dns": dict(
            epochs=38, batch_size=64,
            learning_rate=InverseDecay(0.01, rate=0.0938, power=0.75, restart=11),  # 1e-4 an iteration
            surgery=LinearWarmUp(begin=11, end=38), iterations=25000, stop=0.8,
            c_rate=[5.0, 3.0, 3.0]),                 # of thresholds, by layer
        # 1e-4 rather than 1e-3 on 5,000 validation images, after SparseVD on LeNet-300-100: 1.70 and 1.76 %, from 1.84.
        "finetune": dict(epochs=20, learning_rate=LinearDecay(1e-4, begin=0, end=20)),
        "l0": dict(
            learning_rate=Constant(1e-3),
            l0_weight=[0.1],                         # the price of a weight, in nats: the one that is published
            # Where the gates start: of inputs, of others; as in the authors' class of dense networks. The rest is as in
            # their script for LeNet-5.
            drop_rate=[0.2, 0.5], decay=5e-4),
        # From a dense network's weights. Epochs, components and zero_share are the paper's; batch size, rates and
        # hyper-priors those of the authors' tutorial.
        # tau is ours, chosen with --validation 10000: 0.006, 0.008, 0.015 gave 2.09 % at 24x, 2.04 at 27x, 2.38 at 37x.
        "sws": dict(
            epochs=100, batch_size=256, learning_rate=Constant(5e-4), tau=0.008),
        # Of whole units, from a dense network's weights; the values are LeNet-500-300's.
        "sbp": dict(
            epochs=100, learning_rate=LinearDecay(1e-3, begin=50, end=100), log_sigma=-5.0, noise_rate=10.0,
            kl_weight=[6.0, 6.0, 15.0]),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
