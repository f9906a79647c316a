"""The set-up of Theano, each in a process of its own."""

import os
import subprocess
import sys
import weakref

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

from conftest import ROOT
from utils.theano_setup import gpu

SHOW = """
import sys
sys.path.insert(0, sys.argv[1])
from utils import theano_setup
from utils.errors import UserError
try:
    theano_setup.prepare()
except UserError as error:
    print("UserError:", error)
    sys.exit(1)
import theano
print(theano.config.floatX, theano.config.openmp, theano.config.blas.ldflags, theano.config.gcc.cxxflags, sep="|")
"""


def show(tmp_path, program=SHOW, **environment):
    env = {name: value for name, value in os.environ.items() if name not in ("THEANO_FLAGS", "THEANORC")}
    env.update({"THEANORC": os.devnull, **environment}, PYTHONPATH=str(tmp_path))
    result = subprocess.run([sys.executable, "-c", program, ROOT], capture_output=True, text=True, env=env, timeout=120)
    return result.returncode, result.stdout.strip().splitlines()


def test_defaults(tmp_path):
    status, (line,) = show(tmp_path)
    floatx, openmp, ldflags, cxxflags = line.split("|")
    assert (status, floatx, openmp) == (0, "float32", "True")
    # Whichever BLAS there is, Theano is told of it.
    assert ldflags and "-fno-finite-math-only" in cxxflags


def test_a_compiled_module_needs_no_libpython():
    """The loader does not find one where Python is linked statically, as uv's is."""
    x = T.vector()
    theano.function([x], T.tanh(x) * 3)
    from theano.gof import cmodule
    assert cmodule.std_lib_dirs_and_libs() == ([], []) or not sys.platform.startswith("linux")


def test_theano_flags_win(tmp_path):
    flags = "floatX=float64,openmp=False,gcc.cxxflags=-O2,blas.ldflags="
    assert show(tmp_path, THEANO_FLAGS=flags) == (0, ["float64|False||-O2"])


def test_a_blas_that_cannot_be_linked_is_named(tmp_path):
    status, (line,) = show(tmp_path, THEANO_FLAGS="blas.ldflags=-lnothing")
    assert status == 1 and line.startswith("UserError: blas.ldflags=-lnothing cannot be linked (")


def test_a_theanorc_wins_over_the_defaults_and_theano_flags_over_it(tmp_path):
    (tmp_path / "rc").write_text("[global]\nfloatX = float64\nopenmp = False\n[gcc]\ncxxflags = -O1\n")
    status, (line,) = show(tmp_path, THEANORC=str(tmp_path / "rc"), THEANO_FLAGS="openmp=True")
    assert status == 0 and line.startswith("float64|True|") and line.endswith("|-O1")


@pytest.mark.parametrize("flags, expected", [
    ("device=gpu0,floatX=float32,lib.cnmem=1", "THEANO_FLAGS=device=cuda0,floatX=float32,gpuarray.preallocate=1"),
    ("device=gpu", "THEANO_FLAGS=device=cuda"),
    ("floatX=float99", "check THEANO_FLAGS"),
    ("floatX='float32", "THEANO_FLAGS cannot be read"),
    ("floatX=float16", "use float32, the default, or float64"),
    ("mode=DebugMode", "mode=DebugMode is not supported"), ("linker=py", "linker=py is not supported"),
    ("linker=c", "linker=c is not supported"),
    ("cxx=", "install g++"),
])
def test_flags_that_cannot_work_are_answered_in_one_line(tmp_path, flags, expected):
    status, (line,) = show(tmp_path, THEANO_FLAGS=flags)
    assert status == 1 and line.startswith("UserError:") and expected in line


def test_an_old_theanorc_is_answered_too(tmp_path):
    (tmp_path / "rc").write_text("[global]\ndevice = gpu1\n[lib]\ncnmem = 0.8\n")
    status, (line,) = show(tmp_path, THEANORC=str(tmp_path / "rc"))
    assert status == 1 and "device=cuda1" in line and "gpuarray.preallocate=0.8" in line


def test_a_theanorc_with_a_float_that_is_not_supported_is_answered(tmp_path):
    (tmp_path / "rc").write_text("[global]\nfloatX = float16\n")
    status, (line,) = show(tmp_path, THEANORC=str(tmp_path / "rc"))
    assert status == 1 and "floatX=float16 is not supported" in line


def test_without_a_compiler_one_line_says_what_to_install(tmp_path):
    status, (line,) = show(tmp_path, PATH=str(tmp_path))
    assert status == 1 and "apt install g++" in line


def test_a_numpy_that_theano_cannot_use_is_named(tmp_path):
    folder = tmp_path / "numpy-1.26.4.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    status, (line,) = show(tmp_path)
    assert status == 1 and "numpy 1.26.4" in line and "numpy==1.23.5" in line


def test_another_python_is_named(tmp_path):
    program = ("import sys; sys.version_info = (3, 12, 0); sys.path.insert(0, sys.argv[1] + '/experiments'); "
               "import _setup")
    result = subprocess.run([sys.executable, "-c", program, ROOT], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.strip() == "error: Python 3.11 is needed, this is 3.12: run the script with python3.11"


def test_the_gpu_is_not_silently_replaced_by_the_cpu(tmp_path):
    if gpu.pygpu_problem() is None and gpu.find_library("cuda"):
        pytest.skip("there is a CUDA driver here")
    status, (line,) = show(tmp_path, THEANO_FLAGS="device=cuda")
    assert status == 1 and "device=cuda was asked for" in line


def test_compiled_code_notices_nan_and_infinity():
    """-ffast-math alone would compile these comparisons away."""
    x = T.vector()
    for expression, values, expected in [
            (T.isnan(x), [np.nan, np.inf, 1], [1, 0, 0]), (T.isinf(x), [np.nan, np.inf, 1], [0, 1, 0]),
            (T.clip(x, -8, 8), [np.nan, np.inf, 1], [np.nan, 8, 1])]:
        function = theano.function([x], expression, mode="FAST_RUN")
        assert all(hasattr(thunk, "cthunk") for thunk in function.fn.thunks)
        np.testing.assert_array_equal(function(np.array(values, theano.config.floatX)), expected)


@pytest.mark.parametrize("shapes", [((100, 785), (785, 301)), ((301, 785), (785,)), ((1003,), (1003,))],
                         ids=["gemm", "gemv", "dot"])
def test_blas_is_called_with_any_alignment_alike(rng, shapes):
    """A resumed run's buffers lie elsewhere; its products must not differ in the last bit."""
    a, b = (T.TensorType("float32", (False,) * len(shape))() for shape in shapes)
    product = theano.function([a, b], T.dot(a, b), mode="FAST_RUN")     # by numpy where no BLAS is linked
    left, right = (rng.normal(size=shape).astype("float32") for shape in shapes)
    expected = product(left, right)
    np.testing.assert_allclose(expected, left.astype("float64") @ right, atol=1e-3)
    for shift in range(1, 16):
        memory = np.empty(right.size + 16, "float32")
        moved = memory[shift:shift + right.size].reshape(right.shape)
        moved[:] = right
        np.testing.assert_array_equal(product(left, moved), expected)


def test_rows_of_another_number_free_those_before(rng):
    W, ids = theano.shared(rng.normal(size=(9, 4)).astype(theano.config.floatX)), T.ivector()
    summed = theano.function([ids], T.sum(W[ids], axis=0), mode="FAST_RUN")
    node = summed.maker.fgraph.toposort()[0]
    assert type(node.op).__name__ == "AdvancedSubtensor1"
    kept, made = summed.fn.storage_map[node.outputs[0]], []
    for number in (5, 5, 5, 3, 3, 5):
        chosen = rng.randint(9, size=number).astype("int32")
        np.testing.assert_allclose(summed(chosen), W.get_value()[chosen].sum(axis=0), rtol=1e-5)
        made.append(weakref.ref(kept[0]))
    assert made[-1]() is not None and not any(one() is not None for one in made[:-1])


def test_lasagnes_missing_imports_are_provided(rng):
    images = rng.normal(size=(2, 1, 4, 6)).astype("float32")
    x = T.tensor4()
    pooled = theano.function([x], lasagne.layers.MaxPool2DLayer((None, 1, 4, 6), 2).get_output_for(x))
    np.testing.assert_array_equal(pooled(images), images.reshape(2, 1, 2, 2, 3, 2).max((3, 5)))
    assert lasagne.__version__.startswith("0.")
