"""Checks the set-up, one line a part, and trains a step on the device of THEANO_FLAGS against the CPU's result.

    python experiments/doctor.py                                    the CPU
    THEANO_FLAGS=device=cuda python experiments/doctor.py           a GPU, and all that it needs

Exits with status 0 if experiments can be run on that device.
"""

import argparse
import contextlib
import ctypes
import importlib.metadata
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import namedtuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils import theano_setup  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.theano_setup import gpu  # noqa: E402

__all__ = ["Check", "check_basics", "check_gpu", "check_device", "difference", "main"]

#: How far results on two devices may differ, relative to the largest value of an array; sums have another order there.
TOLERANCE = 1e-3
#: Compiling for a device takes minutes the first time.
TIMEOUT_SECONDS = 1800
#: How Python's last line begins if the project refused a set-up, whose reason it is.
_REFUSAL = f"{UserError.__module__}.{UserError.__name__}: "

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OPENMP = '#include <omp.h>\n#include <stdio.h>\nint main() { printf("%d", omp_get_max_threads()); }\n'


#: A line of the report: `good` is True, False, or None for what the device can do without.
Check = namedtuple("Check", "good part text")


def check_basics(flags):
    """What every device needs: Python, the packages, a compiler and OpenMP; yields a :class:`Check` each."""
    version = sys.version.split()[0]
    yield Check(sys.version_info[:2] == (3, 11), "Python", f"{version} at {sys.executable}"
                + ("" if sys.version_info[:2] == (3, 11) else "; 3.11 is needed"))
    yield from _check_packages()
    headers = sysconfig.get_path("include")
    found = os.path.exists(os.path.join(headers, "Python.h"))
    yield Check(found, "Python's headers", headers if found else "apt install python3.11-dev")
    yield from _check_compiler(_compiler(flags))


def _check_packages():
    """What Theano, Lasagne and numpy are, and what else of requirements.txt is missing or not as it was tested."""
    with open(os.path.join(_ROOT, "requirements.txt"), encoding="utf-8") as file:
        tested = dict(line.split("==") for line in file.read().split() if "==" in line)
    found = {}
    for name in tested:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    install = "python -m pip install -r requirements.txt"
    for name in ("Theano", "Lasagne", "numpy"):
        yield Check(name in found, name, found.get(name, f"not installed: {install}"))
    missing = [name for name in tested if name not in found]
    others = [f"{name} {found[name]}, not {version}" for name, version in tested.items()
              if found.get(name, version) != version]
    if missing:
        yield Check(False, "other packages", f"not installed: {', '.join(missing)}: {install}")
    elif others:
        yield Check(None, "other packages", f"not those that were tested: {'; '.join(others)}")
    else:
        yield Check(True, "other packages", f"{len(tested)}, as they were tested")


def _compiler(flags):
    return flags.get("cxx") or shutil.which("g++") or shutil.which("clang++")


def _check_compiler(compiler):
    if not compiler:
        yield Check(False, "C++ compiler", "none: apt install g++")
        return
    works, text = _build_and_run(compiler, "int main() {}")
    yield Check(works, "C++ compiler", _first_line([*shlex.split(compiler), "--version"]) if works
                else f"{compiler} does not work: {text}")
    works, text = _build_and_run(compiler, _OPENMP, "-fopenmp")
    yield Check(works, "OpenMP", f"{text} threads" if works else f"{compiler} -fopenmp does not work: {text}")


def _build_and_run(compiler, source, *flags):
    """Whether a C++ program compiles and runs, and what it prints, or what the compiler says."""
    with tempfile.TemporaryDirectory(prefix="sparsevd-") as folder:
        program = os.path.join(folder, "program")
        try:
            compiled = _run([*shlex.split(compiler), "-x", "c++", "-", *flags, "-o", program], input=source)
            result = compiled if compiled.returncode else _run([program])
        except PermissionError as error:
            return False, f"{error}: if programs cannot run there, name another folder with TMPDIR"
        except OSError as error:
            return False, str(error)
    return result.returncode == 0, _one_line(result.stderr or result.stdout)


def check_gpu(flags):
    """What a GPU needs: pygpu, and for CUDA the driver, CUDA's libraries and cuDNN; yields a :class:`Check` each."""
    cuda = bool(gpu.asked_for(flags, "cuda"))
    any_gpu = cuda or bool(gpu.asked_for(flags, "opencl"))
    yield from _check_pygpu(any_gpu, _compiler(flags))
    yield from _check_driver(flags, cuda)
    yield _check_library("nvrtc", "NVRTC", _nvrtc_version, flags, cuda)
    yield _check_library("cublas", "cuBLAS", _cublas_version, flags, cuda)
    yield from _check_cudnn(flags, cuda)


def _missing(needed, part, text, name):
    return Check(False if needed else None, part, f"{text}: {gpu.INSTALL[name]}")


def _check_pygpu(needed, compiler):
    problem = gpu.pygpu_problem()
    if problem:
        yield _missing(needed, "pygpu", problem, "pygpu")
        return
    import pygpu
    yield Check(True, "pygpu", f"{pygpu.__version__}, {os.path.dirname(pygpu.__file__)}")
    if compiler and _build_and_run(compiler, "#include <gpuarray/array.h>\nint main() {}", "-lgpuarray")[0]:
        yield Check(True, "libgpuarray", "the compiler finds its headers and its library")
    else:
        yield Check(False if needed else None, "libgpuarray", "the compiler does not find its headers or its library "
                    "(Debian: apt install libgpuarray-dev)")


def _check_driver(flags, needed):
    path = gpu.find_library("cuda", flags)
    if not path:
        yield _missing(needed, "driver", "libcuda.so.1 was not found", "cuda")
        return
    try:
        cuda = ctypes.CDLL(path)
        status = cuda.cuInit(0)
    except (OSError, AttributeError) as error:
        yield _missing(needed, "driver", f"{path} cannot be used ({error})", "cuda")
        return
    if status:
        yield Check(False if needed else None, "driver", f"{path} finds no usable GPU (cuInit: error {status}): see "
                    "nvidia-smi; a container has to be given the GPU")
        return
    version = _integer(cuda.cuDriverGetVersion)
    yield Check(True, "driver", f"for CUDA up to {version // 1000}.{version % 1000 // 10}, {path}")
    for number in range(_integer(cuda.cuDeviceGetCount)):
        name = ctypes.create_string_buffer(256)
        cuda.cuDeviceGetName(name, len(name), number)
        major, minor = (_integer(cuda.cuDeviceGetAttribute, attribute, number) for attribute in (75, 76))
        # Theano 1.0.5 reads the last two digits only, and takes 10.0 for a GPU that is too old for cuDNN.
        text = f"{name.value.decode(errors='replace')}, compute capability {major}.{minor}" + (
            "; too new for Theano to use cuDNN" if major >= 10 else "")
        yield Check(True, f"cuda{number}", text)


def _check_library(name, title, version, flags, needed):
    path = gpu.find_library(name, flags)
    if not path:
        return _missing(needed, title, f"lib{name}.so was not found", name)
    try:
        gpu.load_library(name, path, flags)
        return Check(True, title, f"{version(ctypes.CDLL(f'lib{name}.so'))}, {path}")
    except (OSError, AttributeError, UserError) as error:
        return _missing(needed, title, f"{path} does not work ({_one_line(str(error))})", name)


def _nvrtc_version(library):
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), b"__global__ void nothing() {}", None, 0, None, None)
    status = library.nvrtcCompileProgram(program, 0, None)
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise OSError(f"it does not compile a kernel: {library.nvrtcGetErrorString(status).decode()}")
    text = f"{major.value}.{minor.value}, which the driver has to be for"
    if hasattr(library, "nvrtcGetSupportedArchs"):
        capabilities = (ctypes.c_int * _integer(library.nvrtcGetNumSupportedArchs))()
        library.nvrtcGetSupportedArchs(capabilities)
        text += f", compute capability {min(capabilities) / 10} to {max(capabilities) / 10}"
    return text


def _cublas_version(library):
    value = ctypes.c_int()
    return ".".join(str((library.cublasGetProperty(part, ctypes.byref(value)), value.value)[1]) for part in range(3))


def _check_cudnn(flags, needed):
    headers = gpu.find_header("crt/host_defines.h", flags)
    yield (Check(True, "CUDA's headers", headers) if headers else
           Check(None, "CUDA's headers", f"not found, no cuDNN without them: {gpu.INSTALL['headers']}"))
    include, library = gpu.find_cudnn(flags)
    if not include:
        yield Check(None, "cuDNN", f"not found, convolutions are slow without: {gpu.INSTALL['cudnn']}")
        return
    version = ".".join(map(str, gpu.cudnn_version(include) or ("unknown version",)))
    off = " (turned off by dnn.enabled=False)" if needed and flags.get("dnn.enabled") == "False" else ""
    yield Check(True, "cuDNN", f"{version}{off}, {include}, {library}")


def check_device(flags):
    """Trains a step on the device of the user's settings and, with Theano's own operations, on the CPU.

    Yields
    ------
    :class:`Check`
        the BLAS, and the device: whether both steps come to the same
    """
    device = flags.get("device", "cpu")
    try:
        found, text = _trial()
        expected, blas = _trial("--plain", device="cpu")
    except UserError as error:
        yield Check(False, f"device {device}", str(error))
        return
    yield Check(True, "BLAS", blas)
    error, name = difference(found, expected)
    agrees = error <= TOLERANCE
    what = "a training step is that of Theano's own operations on the CPU" if agrees else (
        f"a training step is not that of Theano's own operations on the CPU, by {name}")
    yield Check(agrees, f"device {device}", f"{text}; {what} (difference {error:.0e}, allowed {TOLERANCE:.0e})")


def _trial(*options, device=None):
    """Runs :mod:`nets.training.trial_step` in a process of its own, which a driver may bring down.

    Returns
    -------
    tuple
        its arrays and its line
    """
    environment = dict(os.environ)
    if device:
        environment["THEANO_FLAGS"] = f"{environment.get('THEANO_FLAGS', '')},device={device}".lstrip(",")
    with tempfile.TemporaryDirectory(prefix="sparsevd-") as folder:
        file = os.path.join(folder, "trial.npz")
        command = [sys.executable, "-m", "nets.training.trial_step", file, *options]
        try:
            result = _run(command, env=environment, cwd=_ROOT, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise UserError(f"no answer in {TIMEOUT_SECONDS // 60} minutes") from None
        if result.returncode:
            reason = _reason(result)
            if not reason.startswith(_REFUSAL):
                # But for its last line, which the report has; Theano's own words are among the others.
                sys.stderr.writelines(result.stderr.splitlines(keepends=True)[:-1])
            raise UserError(reason.removeprefix(_REFUSAL))
        # Imported this late because a missing numpy is one of the things to find.
        import numpy as np
        with np.load(file) as arrays:
            return dict(arrays), result.stdout.strip().splitlines()[-1]


def _reason(result):
    if result.returncode < 0:
        return f"the training step was stopped by {signal.Signals(-result.returncode).name}"
    return (result.stderr.strip().splitlines() or ["the training step failed"])[-1]


def difference(found, expected):
    """The largest difference of two dicts of arrays, each relative to its array's largest value.

    Returns
    -------
    tuple
        the difference (infinite for NaN and for another shape), and the array's name
    """
    import numpy as np
    worst = (0.0, "")
    for name, array in expected.items():
        error = np.inf
        if name in found and found[name].shape == array.shape:
            error = float(np.max(np.abs(found[name] - array)) / max(np.max(np.abs(array)), 1e-30))
        worst = max(worst, (error if np.isfinite(error) else np.inf, name))
    return worst


def _integer(function, *arguments):
    """What a C function writes to the int that is its first argument."""
    value = ctypes.c_int()
    function(ctypes.byref(value), *arguments)
    return value.value


def _run(command, **keywords):
    return subprocess.run(command, capture_output=True, text=True, **keywords)


def _first_line(command):
    return (_run(command).stdout.splitlines() or [""])[0]


def _one_line(text):
    return " ".join(text.split())[-300:]


def main():
    """Prints the report; returns the exit status."""
    parser = argparse.ArgumentParser(prog="experiments/doctor.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    try:
        flags = theano_setup.user_flags()
    except UserError as error:
        sys.exit(f"error: {error}")
    status = 0
    for checks in (check_basics, check_gpu, check_device):
        for check in checks(flags):
            word = {True: "ok", False: "WRONG", None: "-"}[check.good]
            print(f"{word:<6} {check.part:<17} {check.text}", flush=True)
            status |= check.good is False
    print("All is well." if status == 0 else "Not all is well: see the lines that say WRONG.")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
