"""How long a prediction takes: the dense network by several engines, and what is left of pruned ones.

    python benchmarks/prediction.py results/RUN                     one image and 100, on one and on two threads
    python benchmarks/prediction.py results/RUN results/RUN2        two methods on the same network
    python benchmarks/prediction.py results/RUN --peers PYTHON      PyTorch, too, with a Python that has it

Of a run, its network.safetensors is taken (`experiments/compress.py` makes it), or else what it left is compacted. The
dense network has random weights, which are as fast as any. All forms are timed in turn, again and again, and medians
are shown, of one thread's processor time, or of the time that passes on more; those want an idle machine. Ratios are to
the fastest of the dense network's engines in that column. The C file is compiled by `cc -O3 -march=native` and has one
thread, as numpy has here. Needs requirements-export.txt.
"""

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import nets  # noqa: E402,F401  prepares Theano

import numpy as np  # noqa: E402
import theano  # noqa: E402
from lasagne.layers import get_output  # noqa: E402
from prediction_torch import median_seconds  # noqa: E402
from tabulate import tabulate  # noqa: E402

from nets import methods  # noqa: E402
from nets.architectures import NETWORKS  # noqa: E402
from nets.describe import describe  # noqa: E402
from nets.params import named_params  # noqa: E402
from utils import results  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.export import ExportedNetwork, compact, load, read_run  # noqa: E402
from utils.export.c_file import c_source  # noqa: E402
from utils.export.onnx import onnx_model  # noqa: E402
from utils.export.optional import require  # noqa: E402
from utils.export.torch_state import state_dict  # noqa: E402

ROUNDS, SECONDS = 15, 0.02     # how often each form is timed, and how long each time
NUMBERS = (1, 100)             # of images
FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC", "-s")
#: The dense network's engines that ratios are to.
ENGINES = ("Theano", "PyTorch", "ONNX Runtime")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="the folders of finished runs of one network")
    add("--peers", metavar="PYTHON", help="a Python that has torch: see benchmarks/requirements.txt")
    add("--threads", type=int, nargs="+", default=(1, 2), metavar="N", help="(default: 1 2)")
    add("--format", default="github", choices=("simple", "github"), help="of the table (default: github)")
    args = parser.parse_args()
    summaries = [results.read_summary(run) for run in args.runs]
    kinds = {(summary["network"], summary["k"]) for summary in summaries}
    if len(kinds) > 1:
        raise UserError("these are runs of several networks: give runs of one")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        titles = [summary["method_title"] for summary in summaries]
        pruned = [Pruned(summary, folder, titles.count(summary["method_title"]) > 1) for summary in summaries]
        shape, classes = pruned[0].network.input_shape, len(pruned[0].network.classes)
        net, dense = dense_network(*kinds.pop(), shape, classes)
        peer = stack.enter_context(Peer(args.peers, dense, folder)) if args.peers else None
        images = random_images(shape)
        times = {}
        for threads in args.threads:
            with with_threads(threads):
                forms = {("Dense", "Theano"): in_theano(net, dense.preprocessing["mean"]),
                         ("Dense", "numpy"): dense.predict, ("Dense", "ONNX Runtime"): session(dense, threads)}
                if peer:
                    forms["Dense", "PyTorch"] = peer.timed(threads)
                for one in pruned:
                    forms.update(one.forms(threads))
                check(forms, images)
                for number in NUMBERS:
                    times[number, threads] = timed(forms, images[:number], threads)
        size = 4 * sum(array.size for array in dense.arrays.values())
        sizes = {("Dense", engine): (size, dense.multiplications(), "") for engine in (*ENGINES, "numpy")}
        for one in pruned:
            sizes.update(one.sizes())
    print(tabulate(rows(times, sizes), ("Form", "Bytes", "Multiplications", "Error %", *(
        f"{number} image{'s' * (number > 1)}, {threads} thread{'s' * (threads > 1)}, us" for number, threads in times)),
        args.format, colalign=("left", *["right"] * (3 + len(times))), disable_numparse=True))


def rows(times, sizes):
    """Microseconds, and how many times as fast as the fastest engine with the dense network."""
    base = {column: min(found["Dense", engine] for engine in ENGINES if ("Dense", engine) in found)
            for column, found in times.items()}
    for form in next(iter(times.values())):
        size, multiplications, error = sizes[form]
        yield (", ".join(form), f"{size:,}", f"{multiplications:,}", error, *(
            f"{1e6 * found[form]:,.1f} ({base[column] / found[form]:.1f}x)" for column, found in times.items()))


def dense_network(name, k, shape, classes):
    """The network with random weights, as Lasagne's layers and as an :class:`ExportedNetwork`."""
    net = NETWORKS[name].build(methods.make("dense"), shape, classes, k)
    rng = np.random.default_rng(0)
    for key, param in named_params(net).items():
        value = param.get_value()
        if key.endswith(".W"):
            inputs = value[0].size if value.ndim == 4 else len(value)
            value = rng.normal(0, (2 / inputs) ** 0.5, value.shape)
        elif key.endswith((".b", ".beta")):
            value = rng.normal(0, 0.1, value.shape)
        param.set_value(value.astype(param.dtype))
    arrays = {key: param.get_value() for key, param in named_params(net).items()}
    return net, ExportedNetwork(describe(net), arrays, {"mean": rng.random(shape, np.float32)})


def random_images(shape):
    """As empty as digits: a fifth of the pixels is not 0."""
    rng = np.random.default_rng(0)
    shape = (max(NUMBERS), *shape)
    return (rng.integers(1, 256, shape) * (rng.random(shape) < 0.2)).astype(np.float32)


class Pruned:
    """What is left of a run's network, in several forms; `named`: whether its title needs the run's name."""

    def __init__(self, summary, folder, named):
        path = os.path.join(summary["folder"], "network.safetensors")
        if os.path.exists(path):
            self.network, self.file_size = load(path), os.path.getsize(path)
        else:
            self.network, self.file_size = compact(read_run(summary["folder"])).network, None
        if not isinstance(self.network, ExportedNetwork):
            raise UserError(f"{summary['folder']} is of a network of texts: name runs on images")
        name = os.path.basename(os.path.normpath(summary["folder"]))
        self.title = summary["method_title"] + f" ({name})" * named
        self.error = f"{summary['test_error_percent']:.2f}"
        self.library = os.path.join(folder, f"{name}.so")
        self.function = compiled(self.network, os.path.join(folder, f"{name}.c"), self.library)

    def forms(self, threads):
        """{(title, form): prediction}"""
        return {(self.title, "compacted, numpy"): self.network.predict,
                (self.title, "compacted, ONNX Runtime"): session(self.network, threads),
                (self.title, "sparse, numpy"): lambda images: self.network.predict(images, sparse=True),
                # It takes images that are whitened already.
                (self.title, "C"): self.function if "whitening" not in (self.network.preprocessing or ()) else
                lambda images: self.function(np.ascontiguousarray(self.network.prepare(images), np.float32))}

    def sizes(self):
        """{(title, form): (bytes, multiplications, error)}; of the sparse form, the file's bytes."""
        plain = 4 * sum(array.size for array in self.network.arrays.values())
        every, kept = (self.network.multiplications(sparse) for sparse in (False, True))
        return {(self.title, "compacted, numpy"): (plain, every, self.error),
                (self.title, "compacted, ONNX Runtime"): (plain, every, self.error),
                (self.title, "sparse, numpy"): (self.file_size or plain, kept, self.error),
                (self.title, "C"): (os.path.getsize(self.library), kept, self.error)}


def in_theano(net, mean):
    """Theano's prediction, by this project's operations."""
    images = theano.tensor.tensor4()
    return theano.function([images], get_output(net, images / np.float32(256) - mean, deterministic=True))


def session(network, threads):
    """ONNX Runtime's prediction."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    found = runtime.InferenceSession(onnx_model(network).SerializeToString(), options,
                                     providers=["CPUExecutionProvider"])
    return lambda images: found.run(None, {"images": images})[0]


def compiled(network, source, library):
    """The C file's prediction."""
    with open(source, "w", encoding="utf-8") as file:
        file.write(c_source(network))
    subprocess.run(["cc", *FLAGS, source, "-o", library, "-lm"], check=True)
    function = ctypes.CDLL(library).predict
    result = np.empty((max(NUMBERS), len(network.classes)), np.float32)
    pointer = result.ctypes.data_as(ctypes.c_void_p)

    def predict(images):
        function(ctypes.c_void_p(images.ctypes.data), len(images), pointer)
        return result[:len(images)]
    return predict


class Peer:
    """PyTorch in a process of its own, since it wants another numpy; see prediction_torch.py."""

    def __init__(self, python, network, folder):
        path = os.path.join(folder, "dense.npz")
        np.savez(path, mean=network.preprocessing["mean"], layers=json.dumps(network.layers),
                 **{f"state/{name}": array for name, array in state_dict(network).items()})
        self._command = [python, os.path.join(HERE, "prediction_torch.py"), path]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.wait()

    def ask(self, **question):
        """A line of JSON, and the line that answers it."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(f"{self._command[0]} failed: does it have torch? See benchmarks/requirements.txt")
        return json.loads(answer)

    def timed(self, threads):
        """Its prediction, with a method that times it over there."""
        def predict(images):
            return np.array(self.ask(images=images.tolist(), threads=threads), np.float32)
        predict.seconds = lambda images: self.ask(number=len(images), seconds=SECONDS, threads=threads)
        return predict


@contextlib.contextmanager
def with_threads(number):
    """OpenMP's threads, which Theano's operations take.

    The BLAS keeps to one, as in training, and so does numpy: with several, its copy of OpenBLAS and Theano's, which
    share what a process has of them, wait for each other for ever.
    """
    library = ctypes.CDLL("libgomp.so.1")
    before = library.omp_get_max_threads()
    library.omp_set_num_threads(number)
    yield
    library.omp_set_num_threads(before)


def check(forms, images):
    """Whether all forms of a network predict the same."""
    first = {}
    for (title, form), predict in forms.items():
        found = np.array(predict(images))
        apart = abs(found - first.setdefault(title, found)).max()
        if apart > 1e-5:
            raise UserError(f"{title}, {form} predicts something else: probabilities differ by {apart:g}")


def timed(forms, images, threads):
    """Seconds of one call of each form: the median of rounds, of medians over a round's calls."""
    found = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, form in forms.items():
            found[name].append(form.seconds(images) if hasattr(form, "seconds")
                               else median_seconds(form, images, SECONDS, threads))
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
