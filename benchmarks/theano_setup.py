"""Step time of LeNet-300-100 with SparseVD under other choices of BLAS, OpenMP and compiler flags than the project's.

Each variant trains in a process of its own, the variants in turn, several times; the median of all its steps is
reported, and the ratio to the project's choice. The first round of each variant compiles, which takes minutes.

    python benchmarks/theano_setup.py
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from utils.theano_setup import CXXFLAGS  # noqa: E402

OPENBLAS = "blas.ldflags=-lopenblas"
VARIANTS = {
    "the project's": {},
    "-O3": {"THEANO_FLAGS": "gcc.cxxflags=-O3"},
    "-O3 -ffast-math": {"THEANO_FLAGS": "gcc.cxxflags=-O3 -ffast-math"},
    "sums may be reordered": {"THEANO_FLAGS": "gcc.cxxflags=" + CXXFLAGS.replace(" -fno-associative-math", "")},
    "openmp=False": {"THEANO_FLAGS": "openmp=False"},
    "MKL without reproducibility": {"MKL_CBWR": "OFF"},
    "waiting threads sleep": {"OMP_WAIT_POLICY": "passive"},
    "OpenBLAS, 1 thread": {"THEANO_FLAGS": OPENBLAS, "OPENBLAS_NUM_THREADS": "1"},
    "OpenBLAS, all threads": {"THEANO_FLAGS": OPENBLAS, "OPENBLAS_NUM_THREADS": str(os.cpu_count())},
    "no BLAS": {"THEANO_FLAGS": "blas.ldflags="},
}


def measure():
    """Trains on random images; prints the seconds of each step as JSON."""
    import nets  # noqa: F401
    import numpy as np
    from nets import methods
    from nets.architectures import lenet_300_100
    from nets.training.trainer import Trainer, seed_generators

    seed_generators(1)
    method = methods.make("sparse-vd")
    trainer = Trainer(lenet_300_100(method), method, num_examples=60000)
    generator = np.random.default_rng(1)
    images = generator.standard_normal((100, 1, 28, 28), dtype="float32")
    labels = generator.integers(0, 10, 100).astype("int32")
    seconds = []
    for step in range(330):
        began = time.perf_counter()
        trainer.train_epoch([(images, labels)], 1e-3, [1.0])
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds[30:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure()

    import numpy as np
    from tabulate import tabulate

    steps = {name: [] for name in VARIANTS}
    for _ in range(args.rounds):
        for name, environment in VARIANTS.items():
            result = subprocess.run([sys.executable, __file__, "--measure"], capture_output=True, text=True,
                                    env={**os.environ, **environment})
            if result.returncode:
                print(f"{name}: left out ({result.stderr.strip().splitlines()[-1]})", file=sys.stderr)
            else:
                steps[name] += json.loads(result.stdout.splitlines()[-1])
    base = np.median(steps["the project's"])
    print(tabulate([(name, 1e3 * np.median(times), np.median(times) / base) for name, times in steps.items() if times],
                   ("Variant", "ms a step", "ratio"), "github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
