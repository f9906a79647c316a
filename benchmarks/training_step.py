"""Training steps and predictions of the paper's networks: this project, the plain Theano graph, other frameworks.

Each variant runs in a process of its own, on random images in batches of 100; they take turns, and wait in between.
Reported are medians over all steps of all rounds. The floor is the time that the step's products of matrices take at
the rate of the BLAS, measured in the same run.

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
import shutil
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


def measure(network, k, method, without, steps, init_from):
    """Trains on random images, from a run's weights if one is named, and prints what `peers.take_turns` does.

    After the rest, a turn prints the BLAS's GFLOP/s.
    """
    began = time.perf_counter()
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
    at_once = 1 if theano.config.device == "cpu" else peers.AT_ONCE if theano.config.dnn.enabled != "False" else 2
    if network == "lenet-300-100":
        images = images.reshape(-1, 1, 28, 28)
    batch = Split(images, labels)
    with left_out.get(without) or kernels.plain(without):
        net = NETWORKS[network].build(method, k=k if network == "vgg-like" else 1.0)
        if init_from:
            warm_start.Weights.read(init_from).copy_to(net)
        trainer = Trainer(net, method, num_examples=peers.NUM_EXAMPLES)
    weights = [1.0] * len(trainer.terms)
    trainer.train_epoch([(images, labels)], peers.RATE, weights)
    # At a rate of 0 all weights stay: pruned ones would be left out of the convolutions, but not by the peers.
    peers.take_turns(
        time.perf_counter() - began, steps,
        (at_once, lambda: trainer.train_epoch([(images, labels)] * at_once, 0.0, weights)),
        (1, lambda: trainer.evaluate(batch)), also=lambda: [blas_rate()])


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
        for _ in range(peers.WARM_UP + repetitions):
            began = time.perf_counter()
            multiply()
            seconds.append(time.perf_counter() - began)
    return 2 * size ** 3 / np.median(seconds[peers.WARM_UP:]) / 1e9


class Variant:
    """Processes of one command that are measured together; if one fails, the variant is named and left out.

    Parameters
    ----------
    name : str
    command : list of str
    environment : dict
        beside the present one
    copies : int
    cold : bool
        compile in an empty folder
    """

    def __init__(self, name, command, environment, copies=1, cold=False):
        self.name, self.command, self.folder = name, command, tempfile.TemporaryDirectory()
        environment = {**os.environ, **environment}
        if cold:
            environment.update(with_flag(environment, f"base_compiledir={self.folder.name}"),
                               TORCHINDUCTOR_CACHE_DIR=self.folder.name)
        self.processes = [self._start(os.path.join(self.folder.name, f"errors-{number}"), environment)
                          for number in range(copies)]
        self.compilation, self.turns = None, []

    def _start(self, path, environment):
        # A file, since nobody reads a pipe while the others take their turns.
        with open(path, "w") as errors:
            return path, subprocess.Popen(self.command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=errors, env=environment)

    def wait(self):
        """Until all have made their first step."""
        self.compilation = self._read()

    def take_turn(self):
        for _, process in self.processes:
            with contextlib.suppress(BrokenPipeError):  # it has failed, which is found when its answer is read
                process.stdin.write("\n")
                process.stdin.flush()
        self.turns += self._read()

    def _read(self):
        lines = [process.stdout.readline() for _, process in self.processes]
        failed = [path for (path, _), line in zip(self.processes, lines) if not line]
        if failed:
            self.end()
            with open(failed[0]) as file:
                print(f"left out: {self.name} ({(file.read().splitlines() or ['?'])[-1]})", file=sys.stderr)
        return [] if failed else [json.loads(line) for line in lines]

    def end(self):
        for _, process in self.processes:
            process.communicate()
        self.processes = []


def measure_all(commands, rounds, copies, cold, together):
    """{name: (seconds to the first step, turns) of its processes} of commands {name: (command, environment)}."""
    variants = {}
    try:
        for name, (command, environment) in commands.items():
            variants[name] = Variant(name, command, environment, copies, cold)
            if not together:
                variants[name].wait()
        for variant in variants.values() if together else ():
            variant.wait()
        for _ in range(rounds):
            for variant in variants.values():
                variant.take_turn()
    finally:
        for variant in variants.values():
            variant.end()
            variant.folder.cleanup()
    return {name: (variant.compilation, variant.turns) for name, variant in variants.items()
            if 0 < len(variant.turns) == rounds * copies}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--network", choices=tuple(STEPS), nargs="+", default=tuple(STEPS), help="what to train (default: all)")
    add("--k", type=float, nargs="+", default=[0.25], help="widths of VGG-like (default: 0.25)")
    add("--method", choices=METHODS, default="sparse-vd", help="(default: sparse-vd; the peers have no other)")
    add("--variant", choices=tuple(VARIANTS), nargs="+",
        help="(default: the first two; on a GPU, with cuDNN and without)")
    add("--rounds", type=int, default=3, metavar="N", help="turns of each variant (default: 3)")
    add("--copies", type=int, default=1, metavar="N", help="processes of a variant that run together (default: 1)")
    add("--peers", metavar="PYTHON", help="a Python that has torch and jax")
    add("--json", metavar="FILE", help="write all that was measured to a file")
    add("--cold", action="store_true", help="compile everything again")
    add("--together", action="store_true", help="compile all variants at once: sooner done on many cores, but then the "
        "seconds to the first step say nothing")
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

    if args.peers and not shutil.which(args.peers):
        parser.error(f"argument --peers: there is no program {args.peers}")
    everything = {}
    for network, k in [(name, k) for name in args.network for k in (args.k if name == "vgg-like" else [1.0])]:
        # Copies must run for long beside each other, not one after the other's compilation.
        steps = STEPS[network] * (1 if args.copies == 1 else 15)
        commands = {name: ([sys.executable, __file__, "--measure", network, str(k), args.method, VARIANTS[name][0],
                            str(steps), args.init_from], VARIANTS[name][1]) for name in args.variant}
        if args.peers:
            script = os.path.join(HERE, "peers.py")
            commands.update((name, ([args.peers, script, name, network, str(k), str(steps)], {}))
                            for name in (peers.GPU_PEERS if on_gpu else peers.PEERS))
        found = measure_all(commands, args.rounds, args.copies, args.cold, args.together)
        title = f"{network} {k:g}" if network == "vgg-like" else network
        if not found:
            sys.exit(f"error: nothing could be measured of {title}, for the reasons above")
        everything[title] = found
        rates = [turn[3] for _, turns in found.values() for turn in turns if len(turn) > 3]
        floor = peers.flops(network, k) / np.median(rates) / 1e9 if rates else None
        medians = {name: [np.median([seconds for turn in turns for seconds in turn[part]]) for part in (0, 1)]
                   for name, (_, turns) in found.items()}
        first, _ = medians.get(next(iter(commands)), (None, None))
        rows = [(title, name, 1e3 * step, step / first if first else None,
                 step / floor if floor and args.method == "sparse-vd" else None, 1e3 * prediction,
                 np.median(found[name][0]),
                 # Of the first turn: then comes the BLAS's, in ours alone.
                 max(turn[2] for turn in found[name][1][:args.copies])) for name, (step, prediction) in medians.items()]
        if floor:
            print(f"{title}: {np.median(rates):.0f} GFLOP/s, floor {1e3 * floor:.2f} ms", file=sys.stderr)
        print(tabulate(rows, ("Network", "Variant", "ms a step", "ratio to first", "to floor", "ms a prediction",
                              "s to first step", "peak MiB"), "github",
                       floatfmt=("", "", ".2f", ".2f", ".2f", ".2f", ".1f", ".0f")) + "\n", flush=True)
        if args.json:
            with open(args.json, "w") as file:
                json.dump(everything, file)


if __name__ == "__main__":
    main()
