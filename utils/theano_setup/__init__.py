"""Prepares Theano 1.0.5 and Lasagne 0.1 for today's machines, before their first import.

`prepare` chooses a BLAS, OpenMP, compiler flags and floatX. Its choices have the lowest priority: whatever THEANO_FLAGS
or a theanorc file says wins. `nets` calls it when it is imported, so that only code that imports Theano or Lasagne
before `nets` has to call it itself.
"""

import configparser
import contextlib
import ctypes
import ctypes.util
import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import types

from utils.theano_setup import compilation, gpu
from utils.errors import UserError

__all__ = ["prepare", "describe", "user_flags"]

# Vectorized exp, log and sqrt, without what -ffast-math costs in correctness: NaN and infinity stay what they are, and
# sums are not reordered (the order would depend on how a buffer is aligned, and with it the last bits of a run that is
# resumed). __FAST_MATH__ keeps glibc's vector functions, which GCC drops with -fno-finite-math-only. Theano adds the
# equivalent of -march=native itself, in a form that is safe where machines share a home directory, and -g, which -g0
# takes back: it costs a sixth of the compilation.
CXXFLAGS = "-O3 -g0 -ffast-math -fno-finite-math-only -fno-associative-math -D__FAST_MATH__"

_INSTALL = "install the pinned packages: python3.11 -m pip install -r requirements.txt (or use `make demo`)"
#: What Theano calls of a BLAS, under the names that it has in scipy's.
_SCIPY_NAMES = " ".join(f"-D{name}=scipy_{name}" for name in (
    kind + function + "_" for kind in "sd" for function in ("gemm", "gemv", "ger", "dot", "axpy")))
_blas = None


def prepare():
    """Imports Theano and Lasagne, configured. Calling it again does nothing.

    Raises
    ------
    UserError
        if Python, numpy, the C++ compiler, THEANO_FLAGS or the GPU set-up cannot work with Theano 1.0.5.
    """
    if "lasagne" in sys.modules:
        return
    if "theano" not in sys.modules:
        _check_python()
        _check_packages()
        flags = user_flags()
        _check_flags(flags)
        _check_supported(flags)
        _check_compiler(flags)
        _check_blas(flags)
        _set_thread_environment()
        _import_theano(flags)
    _import_lasagne()


def describe():
    """What a run's results may depend on: versions, device, BLAS, threads and compiler flags, as a dict of strings."""
    import theano

    versions = {name: importlib.metadata.version(name) for name in ("Theano", "Lasagne", "numpy", "scipy")}
    return {
        "python": sys.version.split()[0], **versions,
        "device": theano.config.device, "floatX": theano.config.floatX,
        "blas": _blas or theano.config.blas.ldflags or "none", "openmp": str(theano.config.openmp),
        "threads": os.environ.get("OMP_NUM_THREADS") or str(_available_cores()),
        "cxxflags": theano.config.gcc.cxxflags,
    }


def _available_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _check_python():
    if sys.version_info[:2] != (3, 11):
        raise UserError("Python 3.11 is needed, this is %s: run the script with python3.11" % sys.version.split()[0])


def _check_packages():
    for name in ("Theano", "Lasagne", "numpy"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise UserError(f"{name} is not installed; {_INSTALL}") from None
        if name == "numpy" and tuple(int(part) for part in version.split(".")[:2]) >= (1, 24):
            raise UserError(f"Theano 1.0.5 does not work with numpy {version}: python -m pip install numpy==1.23.5")


def user_flags():
    """The user's Theano settings as {"section.option": value}; options of no section are global.

    Raises
    ------
    UserError
        if THEANO_FLAGS or a theanorc file cannot be read.
    """
    flags = {}
    rc_files = os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)
    parser = configparser.RawConfigParser()
    try:
        parser.read([os.path.expanduser(name) for name in rc_files])
    except (configparser.Error, ValueError, OSError) as error:
        raise UserError(f"a theanorc file cannot be read: {' '.join(str(error).split())}") from None
    for section in parser.sections():
        for option, value in parser.items(section):
            # The parser makes names lower-case, as Theano's does.
            option = "floatX" if option == "floatx" else option
            flags[option if section == "global" else f"{section}.{option}"] = value
    flags.update(_theano_flags())
    return flags


def _theano_flags():
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace = ","
    splitter.whitespace_split = True
    try:
        pairs = [part.strip().partition("=") for part in splitter]
    except ValueError as error:
        raise UserError(f"THEANO_FLAGS cannot be read: {error}") from None
    return {key: value for key, separator, value in pairs if separator}


def _check_flags(flags):
    """Answers the flags of the original's command line, which belong to Theano before 1.0, with today's."""
    old = [f"{key}={value}" for key, value in flags.items() if _todays_flag(key, value) != f"{key}={value}"]
    if old:
        today = [_todays_flag(key, value) for key, value in (_theano_flags() or flags).items()]
        raise UserError(f"{', '.join(old)} was for Theano before 1.0 (or its theanorc); use today: "
                        f"THEANO_FLAGS={','.join(today)}, and take it out of theanorc")


def _check_supported(flags):
    """Answers in one line what Theano takes and this project does not, rather than by an error deep in a graph."""
    floatx = flags.get("floatX", "float32")
    if floatx in ("float16", "float128"):
        raise UserError(f"floatX={floatx} is not supported: use float32, the default, or float64")
    for name, refused in (("linker", ("py", "c")), ("mode", ("DebugMode", "DEBUG_MODE"))):
        if flags.get(name) in refused:
            raise UserError(f"{name}={flags[name]} is not supported, the C++ code of this project needs Theano's "
                            "default: leave it out of THEANO_FLAGS and theanorc (for tests without C++, "
                            "mode=FAST_COMPILE)")


def _todays_flag(key, value):
    if key == "device" and value.startswith("gpu"):
        return "device=cuda" + value[len("gpu"):]
    if key in ("lib.cnmem", "cnmem"):
        return f"gpuarray.preallocate={value}"
    return f"{key}={value}"


def _check_compiler(flags):
    if not flags.get("cxx", shutil.which("g++") or shutil.which("clang++")):
        raise UserError("no C++ compiler found, and without one Theano is unusably slow: install g++ "
                        "(Debian, Ubuntu: apt install g++)")
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        raise UserError("Python.h is missing, which Theano compiles against: install Python's headers "
                        "(Debian, Ubuntu: apt install python3.11-dev)")


def _check_blas(flags):
    """Links what Theano would link with the user's BLAS, whose failure is otherwise a traceback deep in a graph."""
    ldflags = flags.get("blas.ldflags")
    if not ldflags:
        return
    compiler = shlex.split(flags.get("cxx", "")) or [shutil.which("g++") or shutil.which("clang++")]
    with tempfile.TemporaryDirectory() as folder:
        source, library = os.path.join(folder, "blas.cpp"), os.path.join(folder, "blas.so")
        with open(source, "w") as file:
            file.write('extern "C" void sgemm_(); void call() { sgemm_(); }\n')
        try:
            done = subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, source, *shlex.split(ldflags)],
                                  capture_output=True, text=True)
            reason = done.returncode and (done.stderr.strip().splitlines() or ["it says nothing"])[0]
        except (OSError, ValueError) as error:
            reason = str(error)
    if reason:
        raise UserError(f"blas.ldflags={ldflags} cannot be linked ({reason}): leave it out of THEANO_FLAGS and "
                        "theanorc for scipy's BLAS, or name one that is installed, such as -lopenblas")


def _set_thread_environment():
    # OpenBLAS's own threads and OpenMP's are in each other's way; and its sums would depend on how many there are.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _load_blas():
    """Loads a BLAS with its symbols visible to the modules that Theano compiles; returns its name and Theano's flags.

    Loaded this way, no path of it stands in the compiler flags: spaces in paths and moved environments do no harm.
    """
    candidates = []
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        scipy = importlib.metadata.distribution("scipy")
        # The functions of scipy's own have names of their own, which the compiler puts in the place of the usual ones.
        candidates += [(f"scipy {scipy.version}'s OpenBLAS", str(file.locate()), "scipy_sgemm_", _SCIPY_NAMES)
                       for file in scipy.files or () if file.name.startswith("libscipy_openblas")]
    # Any flag, even one without effect, makes Theano call BLAS rather than numpy.
    candidates += [(name, ctypes.util.find_library(name), "sgemm_", "-lm") for name in ("openblas", "blis")]
    for name, path, function, flags in candidates:
        with contextlib.suppress(OSError, AttributeError):
            if path:
                getattr(ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL), function)
                return name, flags
    return None, ""


def _import_theano(flags):
    global _blas
    # Without garbage collection, a function keeps its buffers from call to call: a fifth faster with convolutions.
    settings = {"global": {"floatX": "float32", "openmp": "True", "allow_gc": "False"}, "gcc": {"cxxflags": CXXFLAGS},
                # Seconds until a process asks again for the cache into which another one compiles, rather than 5.
                "compile": {"wait": "1", "timeout": "120"}}
    if "blas.ldflags" not in flags:
        _blas, ldflags = _load_blas()
        # Theano 1.0.5 asks numpy for a BLAS where this is unset, in a way that numpy 1.22 and later no longer answer.
        settings["blas"] = {"ldflags": ldflags}

    import numpy
    for dtype in (numpy.float32, numpy.float64):
        # Fills numpy's cache before the compiled code turns subnormal numbers off, which numpy would warn about.
        numpy.finfo(dtype)

    for section, options in gpu.prepare(flags, CXXFLAGS).items():
        settings.setdefault(section, {}).update(options)

    with _lowest_priority_theanorc(settings), compilation.without_libpython():
        try:
            import theano
        except Exception as error:
            text = " ".join(str(error).split())
            way_out = "; name another folder with THEANO_FLAGS=base_compiledir=FOLDER" if "compiledir" in text else ""
            raise UserError(f"Theano does not start, check THEANO_FLAGS and theanorc: {text}{way_out}") from error

    # Its C code does not compile for Python 3.11, with an error that Theano does not expect; without it, scan's loop is
    # Theano's own in Python.
    sys.modules["theano.scan_module.scan_perform_ext"] = None
    _stop_leak_of_rows()
    compilation.once()
    compilation.in_blocks()
    if _available_cores() > 1:
        compilation.in_parallel(_available_cores())

    device = theano.config.device
    if device.startswith(("cuda", "opencl")):
        import theano.gpuarray
        if not theano.gpuarray.pygpu_activated:
            raise UserError(f"device={device} was asked for, but Theano cannot use it (its message is above): "
                            "python experiments/doctor.py checks what it needs; THEANO_FLAGS=device=cpu trains without")


def _stop_leak_of_rows():
    """Has Theano's code that takes rows of an array make a new array each time.

    It counts a reference too many to one that it is given back to fill anew: when the shape changes, that one is lost.
    """
    from theano.tensor.subtensor import AdvancedSubtensor1
    c_code, version = AdvancedSubtensor1.c_code, AdvancedSubtensor1.c_code_cache_version
    AdvancedSubtensor1.c_code = lambda self, node, name, inputs, outputs, sub: (
        f"Py_CLEAR({outputs[0]});" + c_code(self, node, name, inputs, outputs, sub))
    AdvancedSubtensor1.c_code_cache_version = lambda self: (*version(self), 1)


@contextlib.contextmanager
def _lowest_priority_theanorc(settings):
    parser = configparser.RawConfigParser()
    parser.read_dict(settings)
    users = os.environ.get("THEANORC")
    with tempfile.NamedTemporaryFile("w", prefix="theanorc-") as file:
        parser.write(file)
        file.flush()
        # Of several files, Theano lets the last one win.
        os.environ["THEANORC"] = os.pathsep.join([file.name, "~/.theanorc" if users is None else users])
        try:
            yield
        finally:
            del os.environ["THEANORC"]
            if users is not None:
                os.environ["THEANORC"] = users


def _import_lasagne():
    """Imports Lasagne with what 0.1 expects of setuptools before 80 and of Theano before 0.9."""
    from theano.tensor.signal import pool

    def max_pool_2d(input, ds, ignore_border=None, st=None, padding=(0, 0), mode="max"):
        return pool.pool_2d(input, ws=ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)

    import theano.tensor.signal
    if not hasattr(theano.tensor.signal, "downsample"):
        downsample = types.ModuleType("theano.tensor.signal.downsample")
        downsample.max_pool_2d = max_pool_2d
        theano.tensor.signal.downsample = downsample
        sys.modules[downsample.__name__] = downsample

    pkg_resources = types.ModuleType("pkg_resources")
    pkg_resources.get_distribution = importlib.metadata.distribution
    real = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = pkg_resources
    try:
        import lasagne  # noqa: F401
    finally:
        del sys.modules["pkg_resources"]
        if real is not None:
            sys.modules["pkg_resources"] = real
