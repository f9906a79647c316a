"""What the tests share. Theano is prepared before any test module imports it."""

import ctypes
import os
import re
import sys

import pytest

import scripts

ROOT = scripts.ROOT
sys.path.insert(0, ROOT)
sys.path.append(os.path.join(ROOT, "experiments"))

from utils import theano_setup  # noqa: E402

cache = theano_setup.user_flags().get("base_compiledir", "~/.theano")
os.environ["SHARED_COMPILATION"] = os.path.join(cache, "tests-shared")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of several processes has its core, and its own cache: while one compiles, Theano has others wait.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["THEANO_FLAGS"] = (f"{os.environ.get('THEANO_FLAGS', '')},base_compiledir="
                                  + os.path.join(cache, f"tests-{os.environ['PYTEST_XDIST_WORKER']}"))

import nets  # noqa: E402,F401
import shared_compilation  # noqa: E402,F401
import numpy as np  # noqa: E402
import theano  # noqa: E402
from theano.compile.mode import Mode  # noqa: E402
from theano.configparser import change_flags  # noqa: E402
from theano.gof import Op  # noqa: E402
from theano.gof.vm import VM_Linker  # noqa: E402
from theano.sandbox.rng_mrg import mrg_uniform  # noqa: E402
from theano.tensor.nnet.corr import BaseCorrMM  # noqa: E402
from theano.tensor.signal.pool import MaxPoolGrad, Pool  # noqa: E402

from nets import kernels  # noqa: E402

#: All optimizations, but Theano's own operations run in Python, so that little has to be compiled; ours are in C++ as
#: in training. Unless a test says otherwise, all functions are of this mode but in scripts that it starts.
QUICK = Mode(VM_Linker(use_cloop=False, c_thunks=False), "fast_run").excluding("fusion")
theano.compile.mode.instantiated_default_mode = QUICK



def _make_c_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
    return Op.make_thunk(self, node, storage_map, compute_map, no_recycling, "c")


# Of Theano's own, these have no Python code, or none that works with this numpy, or slow one.
for _operation in (BaseCorrMM, Pool, MaxPoolGrad, mrg_uniform):
    _operation.make_thunk = _make_c_thunk


#: What a test module has in it that compiles C++ code, or starts a program that does.
COMPILES = re.compile(r"theano\.function\(|Trainer\(|Predictor\(|trial_step|subprocess|run_script|\bscripts\b"
                      r"|\bevaluate\b|reproduction\.run|common\.experiment import")


def pytest_collection_modifyitems(items):
    """Marks the tests of modules that compile: `make check` leaves them out."""
    modules = {item.path for item in items}
    compiling = {path for path in modules if COMPILES.search(path.read_text(encoding="utf-8"))}
    for item in items:
        if item.path in compiling or "trainer" in item.fixturenames:
            item.add_marker("compiles")


def pytest_xdist_auto_num_workers():
    """The cores that this process may use, of which xdist does not know (taskset, Slurm, a container's cpuset)."""
    return len(os.sched_getaffinity(0))


def pytest_make_parametrize_id(val, argname):
    """No bytes in names: those of archives have the time in them, and processes must agree on the names of tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def float64():
    """Networks that the test builds have float64 parameters."""
    with change_flags(floatX="float64"):
        yield


@pytest.fixture
def evaluate():
    """Evaluates Theano expressions, our operations in C++ and others in Python: evaluate(outputs, {input: value})."""
    def evaluate(outputs, inputs=None):
        inputs = inputs or {}
        return function(outputs, inputs)()

    def function(outputs, inputs):
        """A function without arguments, for the given inputs and the shared variables' present values."""
        compiled = theano.function(list(inputs), outputs, mode=QUICK, on_unused_input="ignore")
        return lambda: compiled(*inputs.values())
    evaluate.function = function
    return evaluate


@pytest.fixture(params=["C++", "plain"])
def graph(request):
    """Both graphs: that of the operations in C++, which trains on a CPU, and Theano's own."""
    kernels.use_plain_graph(request.param == "plain")
    yield request.param
    kernels.use_plain_graph(False)


class GivenNoise:
    """The noise of a layer, given as a Theano expression or a numpy array."""

    def __init__(self, numbers):
        self.numbers = numbers

    def normal(self, size, dtype=None, ndim=None):
        return theano.tensor.as_tensor_variable(self.numbers)


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
    from nets import methods
    from nets.architectures import lenet_300_100
    from nets.training.trainer import Trainer, seed_generators

    seed_generators(0)
    method = methods.make("sparse-vd")
    return Trainer(lenet_300_100(method), method, num_examples=len(digits.train.inputs))


@pytest.fixture
def trainer(compiled):
    """The session's compiled trainer, in its initial state."""
    state = compiled.state()
    yield compiled
    compiled.set_state(state, "the test's start")


@pytest.fixture
def run_script(tmp_path):
    """Starts experiments/lenet_300_100.py in an empty folder: run_script(*flags, **environment) -> CompletedProcess."""
    def start(*flags, **environment):
        return scripts.run("lenet_300_100", *flags, cwd=tmp_path, **environment)
    return start


@pytest.fixture
def rng():
    return np.random.RandomState(7)
