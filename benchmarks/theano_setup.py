"""Time of a training step of SparseVD under other choices of BLAS, OpenMP and compiler flags than the project's.

Each variant trains in a process of its own, the variants in turn, several times; the median of all its steps is
reported, and the ratio to the project's choice. The first round of each variant compiles, which takes minutes. MKL is
measured where it is installed (`python -m pip install mkl`), a system's OpenBLAS where the linker finds it.

    python benchmarks/theano_setup.py                                       LeNet-300-100
    python benchmarks/theano_setup.py --network lenet-5-caffe --plain-graph
"""

import argparse
import ctypes.util
import importlib.metadata
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from utils.theano_setup import CXXFLAGS  # noqa: E402

STEPS = {"lenet-300-100": 300, "lenet-5-caffe": 60}
THREADS = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def variants():
    """{name: environment}."""
    found = {
        "the project's": {},
        "-O3": {"THEANO_FLAGS": "gcc.cxxflags=-O3"},
        "-O3 -ffast-math": {"THEANO_FLAGS": "gcc.cxxflags=-O3 -ffast-math"},
        "sums may be reordered": {"THEANO_FLAGS": "gcc.cxxflags=" + CXXFLAGS.replace(" -fno-associative-math", "")},
        "openmp=False": {"THEANO_FLAGS": "openmp=False"},
        "waiting threads sleep": {"OMP_WAIT_POLICY": "passive"},
        "the BLAS with all threads": {"OPENBLAS_NUM_THREADS": THREADS},
        "no BLAS": {"THEANO_FLAGS": "blas.ldflags="}}
    if ctypes.util.find_library("openblas"):
        found["the system's OpenBLAS, 1 thread"] = {"THEANO_FLAGS": "blas.ldflags=-lopenblas"}
    try:
        path, = [file.locate() for file in importlib.metadata.distribution("mkl").files
                 if file.name.startswith("libmkl_rt.so")]
        # Loaded before all else, so that no path of it stands in the compiler flags.
        found["MKL, all threads"] = {"LD_PRELOAD": str(path), "THEANO_FLAGS": "blas.ldflags=-lm",
                                     "MKL_THREADING_LAYER": "GNU", "MKL_CBWR": "AVX2,STRICT"}
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    return found


def measure(network, plain_graph):
    """Trains on random images; prints the seconds of each step as JSON."""
    import nets  # noqa: F401
    import numpy as np
    from nets import kernels, methods
    from nets.architectures import NETWORKS
    from nets.training.trainer import Trainer, seed_generators

    kernels.use_plain_graph(plain_graph)
    seed_generators(1)
    method = methods.make("sparse-vd")
    trainer = Trainer(NETWORKS[network].build(method, (1, 28, 28), 10, 1), method, num_examples=60000)
    generator = np.random.default_rng(1)
    images = generator.standard_normal((100, 1, 28, 28), dtype="float32")
    labels = generator.integers(0, 10, 100).astype("int32")
    seconds = []
    for step in range(STEPS[network] + 10):
        began = time.perf_counter()
        trainer.train_epoch([(images, labels)], 1e-3, [1.0])
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds[10:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--network", choices=tuple(STEPS), default="lenet-300-100", help="default: lenet-300-100")
    add("--plain-graph", action="store_true", help="Theano's own graph, as with the experiments' flag")
    add("--only", nargs="+", metavar="NAME", help="these variants, besides the project's")
    add("--rounds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    add("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(args.network, args.plain_graph)

    import numpy as np
    from tabulate import tabulate

    chosen = {name: value for name, value in variants().items()
              if not args.only or name in ("the project's", *args.only)}
    steps = {name: [] for name in chosen}
    command = [sys.executable, __file__, "--measure", "--network", args.network,
               *["--plain-graph"] * args.plain_graph]
    for _ in range(args.rounds):
        for name, environment in chosen.items():
            result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
            if result.returncode:
                print(f"{name}: left out ({result.stderr.strip().splitlines()[-1]})", file=sys.stderr)
            else:
                steps[name] += json.loads(result.stdout.splitlines()[-1])
    base = np.median(steps["the project's"])
    print(tabulate([(name, 1e3 * np.median(times), 1e3 * min(times), np.median(times) / base)
                    for name, times in steps.items() if times],
                   ("Variant", "ms a step", "fastest", "ratio"), "github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
