"""How long a prediction takes: the dense network, and what is left of a pruned one, in numpy, ONNX Runtime and C.

    python benchmarks/prediction.py results/RUN                     one image, and 100
    python benchmarks/prediction.py results/RUN --threads 2         ONNX Runtime on two threads; C is single-threaded

All forms are timed in turn, again and again, and medians are shown, so that other load hits all of them alike. The C
file is compiled by `cc -O3 -march=native`. Needs requirements-export.txt.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from tabulate import tabulate

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.errors import UserError  # noqa: E402
from utils.export import compact, read_run  # noqa: E402
from utils.export.c_file import c_source  # noqa: E402
from utils.export.onnx import onnx_model  # noqa: E402
from utils.export.optional import require  # noqa: E402

ROUNDS, SECONDS = 15, 0.02     # how often each form is timed, and how long each time
FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run, with its network.json")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of ONNX Runtime (default: 1)")
    args = parser.parse_args()
    dense = read_run(args.run)
    small = compact(dense).network
    rng = np.random.default_rng(0)
    # As empty as digits: a fifth of the pixels is not 0.
    images = rng.integers(1, 256, (100, *dense.input_shape)) * (rng.random((100, *dense.input_shape)) < 0.2)
    images = images.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        forms = {"numpy, dense": dense.predict, "numpy, compacted": small.predict,
                 "numpy, sparse": lambda inputs: small.predict(inputs, sparse=True),
                 "ONNX Runtime, dense": session(dense, args.threads),
                 "ONNX Runtime, compacted": session(small, args.threads), "C": in_c(small, folder)}
        for name, form in forms.items():
            apart = abs(form(images) - dense.predict(images)).max()
            if apart > 1e-5:
                raise UserError(f"{name} predicts something else: probabilities differ by {apart:g}")
        times = {number: timed(forms, images[:number]) for number in (1, 100)}
    base = "ONNX Runtime, dense"
    print(tabulate([(name, *(value for number in times for value in (
        f"{1e6 * times[number][name]:.1f}", f"{times[number][base] / times[number][name]:.1f}x"))) for name in forms],
        ("Form", "1 image, us", "Ratio", "100 images, us", "Ratio"), colalign=("left", *["right"] * 4),
        disable_numparse=True))


def session(network, threads):
    """ONNX Runtime's prediction."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    found = runtime.InferenceSession(onnx_model(network).SerializeToString(), options,
                                     providers=["CPUExecutionProvider"])
    return lambda images: found.run(None, {"images": images})[0]


def in_c(network, folder):
    """The C file's prediction."""
    source, library = os.path.join(folder, "net.c"), os.path.join(folder, "net.so")
    with open(source, "w") as file:
        file.write(c_source(network))
    subprocess.run(["cc", *FLAGS, source, "-o", library, "-lm"], check=True)
    function = ctypes.CDLL(library).predict
    result, classes = np.empty((100, len(network.classes)), np.float32), len(network.classes)
    pointer = result.ctypes.data_as(ctypes.c_void_p)

    def predict(images):
        function(ctypes.c_void_p(images.ctypes.data), len(images), pointer)
        return result[:len(images), :classes]
    return predict


def timed(forms, images):
    """Seconds of one call of each form, the median of rounds."""
    found = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, form in forms.items():
            calls, begin = 0, time.perf_counter()
            while (passed := time.perf_counter() - begin) < SECONDS:
                form(images)
                calls += 1
            found[name].append(passed / calls)
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
