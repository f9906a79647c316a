"""Training steps of the paper's networks: this project's Ops against the plain Theano graph, one thread against all.

Each variant trains in a process of its own, on random images in batches of 100; the variants take turns. Reported are
medians over all steps, and the ratio to the first variant.

    python benchmarks/training_step.py                            LeNet-300-100, LeNet-5-Caffe, VGG-like (k = 0.25)
    python benchmarks/training_step.py --network lenet-5-caffe --rounds 5
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

NETWORKS = ("lenet-300-100", "lenet-5-caffe", "vgg-like")
METHODS = ("sparse-vd", "binary-dropout")
VARIANTS = {"Ops": ("ops", {}), "plain graph": ("plain", {}), "Ops, 1 thread": ("ops", {"OMP_NUM_THREADS": "1"}),
            "plain graph, 1 thread": ("plain", {"OMP_NUM_THREADS": "1"})}
WARM_UP = 3


def measure(network, method, graph, steps):
    """Trains on random images; prints the seconds of compilation and of each step as JSON."""
    import nets  # noqa: F401
    import numpy as np
    from nets import architectures, methods, ops
    from utils.training import Trainer, seed_generators

    ops.use_plain_graph(graph == "plain")
    seed_generators(1)
    method = {"sparse-vd": methods.sparse_vd, "binary-dropout": methods.binary_dropout}[method]()
    shape = (3, 32, 32) if network == "vgg-like" else (1, 28, 28)
    net = {"lenet-300-100": lambda: architectures.lenet_300_100(method),
           "lenet-5-caffe": lambda: architectures.lenet_5_caffe(method),
           "vgg-like": lambda: architectures.vgg_like(method, k=0.25)}[network]()
    began = time.perf_counter()
    trainer = Trainer(net, num_examples=60000)
    compilation = time.perf_counter() - began

    generator = np.random.default_rng(1)
    images = generator.standard_normal((100, *shape), dtype="float32")
    labels, order = generator.integers(0, 10, 100).astype("int32"), np.arange(100)
    seconds = []
    for step in range(WARM_UP + steps):
        began = time.perf_counter()
        trainer.train_epoch(images, labels, 100, order, 1e-3, 1.0)
        seconds.append(time.perf_counter() - began)
    print(json.dumps([compilation, seconds[WARM_UP:]]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=NETWORKS, help="what to train (default: all)")
    parser.add_argument("--method", choices=METHODS, default="sparse-vd", help="(default: sparse-vd)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        network, method, graph, steps = args.measure
        return measure(network, method, graph, int(steps))

    import numpy as np
    from tabulate import tabulate

    rows = []
    for network in args.network:
        steps = {"lenet-300-100": 200, "lenet-5-caffe": 60, "vgg-like": 10}[network]
        found = {name: [] for name in VARIANTS}
        for _ in range(args.rounds):
            for name, (graph, environment) in VARIANTS.items():
                result = subprocess.run(
                    [sys.executable, __file__, "--measure", network, args.method, graph, str(steps)], text=True,
                    stdout=subprocess.PIPE, check=True, env={**os.environ, **environment})
                found[name].append(json.loads(result.stdout.splitlines()[-1]))
        medians = {name: np.median([times for _, times in runs]) for name, runs in found.items()}
        rows += [(network, name, 1e3 * median, median / medians["Ops"],
                  np.median([compilation for compilation, _ in found[name]])) for name, median in medians.items()]
    print(tabulate(rows, ("Network", "Variant", "ms a step", "ratio", "s to compile"), "github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
