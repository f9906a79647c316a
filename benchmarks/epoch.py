"""What an epoch takes beside its steps: batches, the test pass, counting zeros, the report and the checkpoint.

Trains on random images, as many as MNIST or CIFAR-10 has, and tells the medians over the epochs but the first.

    python benchmarks/epoch.py                            LeNet-300-100 and LeNet-5-Caffe
    python benchmarks/epoch.py --network vgg-like --epochs 3
"""

import argparse
import os
import sys
import tempfile
import time
import types

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: name : (width, shape of an image, training images)
SIZES = {"lenet-300-100": (1.0, (1, 28, 28), 60000), "lenet-5-caffe": (1.0, (1, 28, 28), 60000),
         "vgg-like": (0.25, (3, 32, 32), 50000)}


def measure(network, epochs):
    """Seconds of each epoch, and of its steps alone."""
    import nets  # noqa: F401
    import numpy as np
    from data import Split
    from nets import methods
    from nets.architectures import NETWORKS
    from nets.training.loop import fit
    from nets.training.trainer import Trainer, seed_generators
    from utils import runs

    k, shape, number = SIZES[network]
    generator = seed_generators(1)
    method = methods.make("sparse-vd", kl_warm_up=False)
    trainer = Trainer(NETWORKS[network].build(method, shape, k=k), method, number)

    def images(count):
        return (generator.standard_normal((count, *shape), dtype="float32"),
                generator.integers(0, 10, count).astype("int32"))

    dataset = types.SimpleNamespace(train=Split(*images(number)), test=Split(*images(10000)))
    train, steps, ends = trainer._train, [0.0], []

    def step(*batch):
        began = time.perf_counter()
        train(*batch)
        steps[-1] += time.perf_counter() - began

    trainer._train = step

    def after(epoch):
        ends.append(time.perf_counter())
        steps.append(0.0)

    with tempfile.TemporaryDirectory() as folder:
        run = runs.Run(folder, {"settings": {}})
        fit(trainer, dataset, run, epochs=epochs, batch_size=100, learning_rate=lambda epoch: 1e-3,
            seed=1, generator=generator, after_epoch=after)
    return np.diff(ends), np.array(steps[1:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(SIZES), nargs="+", default=("lenet-300-100", "lenet-5-caffe"),
                        help="(default: both LeNets)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="(default: 6)")
    args = parser.parse_args()

    import numpy as np
    from tabulate import tabulate
    rows = []
    for network in args.network:
        whole, steps = (np.median(seconds[1:]) for seconds in measure(network, args.epochs))
        rows.append((network, whole, steps, whole / steps))
    print(tabulate(rows, ("Network", "s an epoch", "s in its steps", "ratio"), "github",
                   floatfmt=("", ".2f", ".2f", ".3f")))


if __name__ == "__main__":
    main()
