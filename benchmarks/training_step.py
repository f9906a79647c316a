"""Training steps and predictions of the paper's networks: this project, the plain Theano graph, other frameworks.

Each variant runs in a process of its own, on random images in batches of 100; the variants take turns. Reported are
medians over all steps of all rounds. The floor is the time that the step's products of matrices take at the rate of the
BLAS, measured in the same run.

    python benchmarks/training_step.py                            LeNet-300-100, LeNet-5-Caffe, VGG-like (k = 0.25)
    python benchmarks/training_step.py --network lenet-5-caffe --rounds 5
    python benchmarks/training_step.py --copies 2                 two trainings at a time, on the same cores
    python benchmarks/training_step.py --init-from RUN            as it is late in the training of a network
    python benchmarks/training_step.py --parts                    what each part of the C++ code is good for
    python benchmarks/training_step.py --cold                     time to the first step with nothing compiled before
    python benchmarks/training_step.py --peers PYTHON             PyTorch and JAX too, with a Python that has them:
                                                                  see benchmarks/requirements.txt
    THEANO_FLAGS=device=cuda python benchmarks/training_step.py --network vgg-like --k 0.25 1.5 --peers PYTHON
                                                                  on a GPU, with cuDNN and without
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import peers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from utils import theano_setup  # noqa: E402
from utils.theano_setup import gpu  # noqa: E402

METHODS = ("sparse-vd", "dense", "binary-dropout", "magnitude")
STEPS = {"lenet-300-100": 200, "lenet-5-caffe": 60, "vgg-like": 10}
#: The C++ code's kernels (`nets/kernels/`), which can be left out one by one.
PARTS = ("adam", "batch_norm", "conv", "dense", "max_pool", "normal", "posterior", "sample")


def with_flag(environment, flag):
    """What an environment's THEANO_FLAGS become with another flag: {"THEANO_FLAGS": str}."""
    return {"THEANO_FLAGS": ",".join(filter(None, (environment.get("THEANO_FLAGS"), flag)))}


#: name : (what is left out, environment)
VARIANTS = {"this project": ("nothing", {}), "plain graph": ("everything", {}),
            "this project, 1 thread": ("nothing", {"OMP_NUM_THREADS": "1"}),
            "plain graph, 1 thread": ("everything", {"OMP_NUM_THREADS": "1"}),
            "waiting threads sleep": ("nothing", {"OMP_WAIT_POLICY": "passive"}),
            "waiting threads spin 3000 times": ("nothing", {"GOMP_SPINCOUNT": "3000"}),
            **{f"without {part}": (part, {}) for part in PARTS},
            "not in place": ("nothing", with_flag(os.environ, "optimizer_excluding=sparse_vd_in_place")),
            "without cuDNN": ("nothing", with_flag(os.environ, "dnn.enabled=False"))}
WARM_UP = 3


def measure(network, k, method, without, steps, init_from):
    """Trains on random images, from a run's weights if one is named.

    Prints, as JSON, what `peers.main` prints, and the BLAS's GFLOP/s.
    """
    import nets  # noqa: F401
    import theano
    from data.dataset import Split
    from nets import kernels, methods
    from nets.architectures import NETWORKS
    from nets.training import warm_start
    from nets.training.trainer import Trainer, seed_generators

    left_out = {"nothing": contextlib.nullcontext(), "everything": kernels.plain()}
    seed_generators(1)
    method = methods.make(method)
    images, labels = peers.batch(network, k)
    at_once = 1 if theano.config.device == "cpu" else peers.AT_ONCE
    if network == "lenet-300-100":
        images = images.reshape(-1, 1, 28, 28)
    batch = Split(images, labels)
    began = time.perf_counter()
    with left_out.get(without) or kernels.plain(without):
        net = NETWORKS[network].build(method, k=k if network == "vgg-like" else 1.0)
        if init_from:
            warm_start.Weights.read(init_from).copy_to(net)
        trainer = Trainer(net, method, num_examples=peers.NUM_EXAMPLES)
    weights = [1.0] * len(trainer.terms)
    trainer.train_epoch([(images, labels)], peers.RATE, weights)
    compilation = time.perf_counter() - began

    found = []
    for number, function in ((at_once, lambda: trainer.train_epoch([(images, labels)] * at_once, peers.RATE, weights)),
                             (1, lambda: trainer.evaluate(batch))):
        seconds = []
        for _ in range(WARM_UP + steps):
            began = time.perf_counter()
            function()
            seconds.append((time.perf_counter() - began) / number)
        found.append(seconds[WARM_UP:])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([compilation, *found, memory, blas_rate()]))


def blas_rate(size=2000, repetitions=10):
    """GFLOP/s of a product of square matrices, the median of several."""
    import numpy as np
    import theano
    import theano.tensor as T
    from threadpoolctl import threadpool_limits

    if theano.config.device != "cpu":
        from nets.training.trial_step import gigaflops
        return gigaflops(4096, repetitions)
    left, right = (theano.shared(np.ones((size, size), "float32")) for _ in range(2))
    product = theano.shared(np.zeros((size, size), "float32"))
    multiply = theano.function([], updates=[(product, T.dot(left, right))])
    seconds = []
    # The project's BLAS has one thread, beside OpenMP's.
    with threadpool_limits(os.cpu_count(), "blas"):
        for _ in range(WARM_UP + repetitions):
            began = time.perf_counter()
            multiply()
            seconds.append(time.perf_counter() - began)
    return 2 * size ** 3 / np.median(seconds[WARM_UP:]) / 1e9


def run(command, environment, copies, cold):
    """What each of several processes of a command prints, started together."""
    environment = {**os.environ, **environment}
    with tempfile.TemporaryDirectory() as folder:
        if cold:
            environment.update(with_flag(environment, f"base_compiledir={folder}"), TORCHINDUCTOR_CACHE_DIR=folder)
        started = [subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env=environment) for _ in range(copies)]
        ended = [(process, *process.communicate()) for process in started]
    found = []
    for process, output, errors in ended:
        if process.returncode:
            print(f"left out: {' '.join(command[1:4])} ({(errors.strip().splitlines() or ['?'])[-1]})", file=sys.stderr)
        else:
            found.append(json.loads(output.splitlines()[-1]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--network", choices=tuple(STEPS), nargs="+", default=tuple(STEPS), help="what to train (default: all)")
    add("--k", type=float, nargs="+", default=[0.25], help="widths of VGG-like (default: 0.25)")
    add("--method", choices=METHODS, default="sparse-vd", help="(default: sparse-vd; the peers have no other)")
    add("--variant", choices=tuple(VARIANTS), nargs="+",
        help="(default: the first two; on a GPU, with cuDNN and without)")
    add("--rounds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    add("--copies", type=int, default=1, metavar="N", help="processes of a variant that run together (default: 1)")
    add("--peers", metavar="PYTHON", help="a Python that has torch and jax")
    add("--json", metavar="FILE", help="write all that was measured to a file")
    add("--cold", action="store_true", help="compile everything again in each run")
    add("--parts", action="store_true", help="variants without one part of the C++ code each")
    add("--init-from", default="", metavar="RUN", help="start from a finished run's weights, most of them pruned; the "
        "peers do not")
    add("--measure", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        network, k, method, without, steps, init_from = args.measure
        return measure(network, float(k), method, without, int(steps), init_from)
    on_gpu = gpu.asked_for(theano_setup.user_flags(), "cuda")
    args.variant = args.variant or (("this project", "without cuDNN") if on_gpu else tuple(VARIANTS)[:2])
    if args.parts:
        args.variant = ("this project", *(f"without {part}" for part in PARTS), "not in place", "plain graph")

    import numpy as np
    from tabulate import tabulate

    rows, everything = [], {}
    for network, k in [(name, k) for name in args.network for k in (args.k if name == "vgg-like" else [1.0])]:
        # Copies must run for long beside each other, not one after the other's compilation.
        steps = STEPS[network] * (1 if args.copies == 1 else 15)
        commands = {name: ([sys.executable, __file__, "--measure", network, str(k), args.method, VARIANTS[name][0],
                            str(steps), args.init_from], VARIANTS[name][1]) for name in args.variant}
        if args.peers:
            script = os.path.join(HERE, "peers.py")
            commands.update((name, ([args.peers, script, name, network, str(k), str(steps)], {}))
                            for name in (peers.GPU_PEERS if on_gpu else peers.PEERS))
        found = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, (command, environment) in commands.items():
                found[name] += run(command, environment, args.copies, args.cold)
        found = {name: runs for name, runs in found.items() if runs}
        title = f"{network} {k:g}" if network == "vgg-like" else network
        everything[title] = found
        rate = np.median([own[4] for runs in found.values() for own in runs if len(own) > 4])
        floor = peers.flops(network, k) / rate / 1e9
        first = None
        for name, runs in found.items():
            step, prediction = (np.median([seconds for own in runs for seconds in own[part]]) for part in (1, 2))
            first = first or step
            rows.append((title, name, 1e3 * step, step / first, step / floor if args.method == "sparse-vd" else None,
                         1e3 * prediction, np.median([own[0] for own in runs]), max(own[3] for own in runs)))
        print(f"{title}: {rate:.0f} GFLOP/s, floor {1e3 * floor:.2f} ms", file=sys.stderr)
    print(tabulate(rows, ("Network", "Variant", "ms a step", "ratio to first", "to floor", "ms a prediction",
                          "s to first step", "peak MiB"), "github",
                   floatfmt=("", "", ".2f", ".2f", ".2f", ".2f", ".1f", ".0f")))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(everything, file)


if __name__ == "__main__":
    main()
