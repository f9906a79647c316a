"""What the tests share. Theano is prepared before any test module imports it."""

import ctypes
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import nets  # noqa: E402,F401
import numpy as np  # noqa: E402
import theano  # noqa: E402
from theano.configparser import change_flags  # noqa: E402


@pytest.fixture
def float64():
    """Networks that the test builds have float64 parameters."""
    with change_flags(floatX="float64"):
        yield


@pytest.fixture
def evaluate():
    """Evaluates Theano expressions without compiling C code: evaluate(outputs, {input: value})."""
    def evaluate(outputs, inputs=None):
        inputs = inputs or {}
        return function(outputs, inputs)()

    def function(outputs, inputs):
        """A function without arguments, for the given inputs and the shared variables' present values."""
        compiled = theano.function(list(inputs), outputs, mode="FAST_COMPILE")
        return lambda: compiled(*inputs.values())
    evaluate.function = function
    return evaluate


@pytest.fixture
def set_threads():
    """Sets the number of OpenMP's threads, for the test."""
    try:
        library = ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("no libgomp")
    before = library.omp_get_max_threads()
    yield library.omp_set_num_threads
    library.omp_set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    import data
    return data.load("digits")


@pytest.fixture(scope="session")
def compiled(digits):
    """A trainer of LeNet-300-100 with SparseVD, as the experiment compiles it. Tests take it from `trainer`."""
    from nets.architectures import lenet_300_100
    from nets.methods import sparse_vd
    from nets.training.trainer import Trainer, seed_generators

    seed_generators(0)
    return Trainer(lenet_300_100(sparse_vd()), num_examples=len(digits.train))


@pytest.fixture
def trainer(compiled):
    """The session's compiled trainer, in its initial state."""
    state = compiled.state()
    yield compiled
    compiled.set_state(state, "the test's start")


def script(name, *flags):
    """The command that runs experiments/<name>.py."""
    return [sys.executable, os.path.join(ROOT, "experiments", f"{name}.py"), *map(str, flags)]


@pytest.fixture
def run_script(tmp_path):
    """Starts experiments/lenet_300_100.py in an empty folder: run_script(*flags, **environment) -> CompletedProcess."""
    def start(*flags, wait=True, **environment):
        command = script("lenet_300_100", *flags)
        keywords = dict(cwd=tmp_path, env={**os.environ, **environment}, text=True)
        if not wait:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **keywords)
        return subprocess.run(command, capture_output=True, timeout=600, **keywords)
    return start


@pytest.fixture
def rng():
    return np.random.RandomState(7)
