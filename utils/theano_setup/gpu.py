"""Prepares CUDA and cuDNN for Theano's GPU back-end, before Theano is imported.

libgpuarray opens CUDA's libraries by names that often stand for nothing today (`libnvrtc.so`, where there is a
`libnvrtc.so.13`), and Theano 1.0.5 knows cuDNN up to 7. `prepare` finds the libraries, those of PyPI's packages too,
makes the names lead to them, and gives back to cuDNN 8 and 9 what they dropped (`cudnn_compat.h`).
"""

import ctypes
import ctypes.util
import glob
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib

from utils.errors import UserError

__all__ = ["prepare", "asked_for", "pygpu_problem", "find_library", "load_library", "find_header", "find_cudnn",
           "cudnn_version", "INSTALL", "REQUIRED"]

_PACKAGES = "python -m pip install -r requirements-gpu.txt"
#: What to do where a part is missing.
INSTALL = {"pygpu": "see docs/gpu.md", "cuda": "install NVIDIA's driver", "nvrtc": _PACKAGES,
           "cublas": _PACKAGES, "cudnn": _PACKAGES, "headers": _PACKAGES}

#: What libgpuarray does not work without: the driver, the compiler of its kernels, and its products of matrices.
REQUIRED = ("cuda", "nvrtc", "cublas")
#: What these open themselves, by a name that the loader finds only once it is loaded: PyPI's NVRTC 13.0 fails without.
_COMPANIONS = {"nvrtc": "nvrtc-builtins", "cublas": "cublasLt"}

_HEADER = "cudnn_compat.h"
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_CUDNN_OPTIONS = ("dnn.base_path", "dnn.include_path", "dnn.library_path", "dnn.bin_path")


def asked_for(flags, kind):
    """The setting that names a device of a kind ("cuda", "opencl"), such as "device=cuda0"; None if there is none.

    Parameters
    ----------
    flags : dict
        the user's Theano settings, {"section.option": value}
    """
    for option in ("device", "init_gpu_device", "contexts"):
        if re.search(rf"(^|->){kind}", flags.get(option, "")):
            return f"{option}={flags[option]}"
    return None


def prepare(flags, cxxflags):
    """Loads what the device in the user's settings needs, and says how to configure Theano for it.

    Parameters
    ----------
    flags : dict
        the user's Theano settings, {"section.option": value}
    cxxflags : str
        the project's own compiler flags

    Returns
    -------
    dict
        settings for Theano, {section: {option: value}}; empty for a CPU

    Raises
    ------
    UserError
        if pygpu or, for CUDA, one of `REQUIRED` is missing.
    """
    cuda = asked_for(flags, "cuda")
    asked = cuda or asked_for(flags, "opencl")
    if asked:
        _require(asked, pygpu_problem(), "pygpu")
    if not cuda:
        return {}
    for name in REQUIRED:
        path = find_library(name, flags)
        _require(asked, None if path else f"lib{name}.so was not found", name)
        load_library(name, path, flags)
    return {"cuda": _cuda_settings(flags), **_cudnn_settings(flags, cxxflags)}


def _require(asked, problem, name):
    if problem:
        raise UserError(f"{asked} was asked for, but {problem}: {INSTALL[name]}. python experiments/doctor.py checks "
                        "all that a GPU needs; THEANO_FLAGS=device=cpu trains without one")


def pygpu_problem():
    """Why pygpu cannot be imported, in one line; None if it can."""
    try:
        import pygpu.gpuarray  # noqa: F401
    except Exception as error:  # another numpy than it was compiled for is a ValueError
        return f"pygpu cannot be imported ({' '.join(str(error).split())})"
    return None


def find_library(name, flags=None):
    """The path of a shared library of CUDA, such as "nvrtc" for libnvrtc.so or libnvrtc.so.13; None if there is none.

    Looked at in turn: cuda.root in the user's Theano settings, $CUDA_HOME, $CUDA_PATH and $CUDA_ROOT, NVIDIA's packages
    of PyPI, what the loader finds, /usr/local/cuda.
    """
    for root in _roots(flags):
        found = _newest_library(root, name)
        if found:
            return found
    # The driver comes without a development package.
    for soname in (f"lib{name}.so", "libcuda.so.1" if name == "cuda" else ctypes.util.find_library(name)):
        found = soname and _loaded_path(soname)
        if found:
            return found
    return _newest_library("/usr/local/cuda", name)


def find_header(name, flags=None):
    """The folder of a header of CUDA or cuDNN, such as "cuda.h"; None if there is none. Looked for as libraries are."""
    folders = [os.path.join(root, "include") for root in _roots(flags) + ["/usr/local/cuda"]]
    folders += ["/usr/include", "/usr/include/x86_64-linux-gnu"]
    return next((folder for folder in folders if os.path.exists(os.path.join(folder, name))), None)


def find_cudnn(flags=None):
    """cuDNN's folder of headers and its library, which belong together; (None, None) if there are none."""
    for root in _roots(flags) + ["/usr/local/cuda"]:
        include, library = os.path.join(root, "include"), _newest_library(root, "cudnn")
        if library and os.path.exists(os.path.join(include, "cudnn.h")):
            return include, library
    include, library = find_header("cudnn.h"), find_library("cudnn")
    return (include, library) if include and library else (None, None)


def cudnn_version(include):
    """The version that cuDNN's headers in a folder give, (major, minor, patch); None if they give none."""
    for name in ("cudnn_version.h", "cudnn.h"):
        path = os.path.join(include, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                found = dict(re.findall(r"^#define CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+(\d+)", file.read(), re.MULTILINE))
            if len(found) == 3:
                return int(found["MAJOR"]), int(found["MINOR"]), int(found["PATCHLEVEL"])
    return None


def _roots(flags):
    roots = [(flags or {}).get("cuda.root"), *map(os.environ.get, ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"))]
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec else ():
        roots += sorted(glob.glob(os.path.join(glob.escape(folder), "*")))
    return [os.path.expanduser(root) for root in roots if root]


def _newest_library(root, name):
    folders = [os.path.join(root, folder) for folder in ("lib64", "lib", "targets/x86_64-linux/lib")]
    return next(filter(None, (_newest(folder, name) for folder in folders)), None)


def _newest(folder, name):
    paths = glob.glob(os.path.join(glob.escape(folder), f"lib{name}.so*"))
    return max(paths, key=lambda path: [int(part) for part in re.findall(r"\d+", os.path.basename(path))], default=None)


def _loaded_path(soname):
    """Lets the loader find a library; its path, or None if it is not found."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return None
    stem = soname.partition(".so")[0] + ".so"
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = [line.rstrip("\n").partition("/") for line in file]
    return next(("/" + path for _, _, path in paths if os.path.basename(path).startswith(stem)), None)


def load_library(name, path, flags=None):
    """Loads a library, and makes dlopen("lib<name>.so") lead to it, wherever it is and whatever its version.

    The loader compares that name with those that the loaded libraries say they have, before it looks for a file. So
    a small library that says so and depends on the real one is enough, and its file may go once it is loaded. It is
    empty but for NVRTC, of which it changes one function (`nvrtc_compat.cpp`).

    Raises
    ------
    UserError
        if the library cannot be loaded.
    """
    companion = name in _COMPANIONS and _newest(os.path.dirname(path), _COMPANIONS[name])
    if companion:
        _open(companion, INSTALL[name])
    _open(path, INSTALL[name])
    alias = f"lib{name}.so"
    source = [f'-DNVRTC="{path}"', os.path.join(_FOLDER, "nvrtc_compat.cpp")] if name == "nvrtc" else []
    compiler = shlex.split((flags or {}).get("cxx") or shutil.which("g++") or "clang++")
    with tempfile.TemporaryDirectory(prefix="sparsevd-") as folder:
        file = os.path.join(folder, alias)
        linked = subprocess.run([*compiler, "-shared", "-fPIC", "-nostdlib", "-o", file, f"-Wl,-soname,{alias}",
                                 *source, "-Wl,--no-as-needed", path], capture_output=True, text=True)
        if linked.returncode:
            raise UserError(f"{path} cannot be linked to ({' '.join(linked.stderr.split())}): {INSTALL[name]}")
        _open(file, INSTALL[name])


def _open(path, advice):
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise UserError(f"{path} cannot be loaded ({' '.join(str(error).split())}): {advice}") from None


def _cuda_settings(flags):
    # The last of CUDA's headers that cudnn.h needs; of PyPI's packages, one of its own.
    include = find_header("crt/host_defines.h", flags)
    if not include:
        return {}
    # Also by the environment: some of Theano's operations include cudnn.h, which needs CUDA's headers, without them.
    _add_to_include_path(include)
    return {"include_path": include}


def _cudnn_settings(flags, cxxflags):
    if flags.get("dnn.enabled") == "False":
        return {}
    # Theano's default is slow algorithms without working memory: a step of VGG-like takes three quarters more time.
    settings = {"dnn.conv": dict.fromkeys(("algo_fwd", "algo_bwd_data", "algo_bwd_filter"), "time_once")}
    if any(option in flags for option in _CUDNN_OPTIONS):
        base = flags.get("dnn.base_path")
        include = flags.get("dnn.include_path") or (os.path.join(base, "include") if base else find_header("cudnn.h"))
    else:
        include, library = find_cudnn(flags)
        if include:
            _open(library, "THEANO_FLAGS=dnn.enabled=False trains without cuDNN")
            folder = _link_folder(library, flags)
            settings["dnn"] = {"include_path": include, "library_path": folder, "bin_path": folder}
    version = cudnn_version(include) if include else None
    if version and version[0] >= 8:
        _add_to_include_path(_FOLDER)
        warnings.filterwarnings("ignore", "Your cuDNN version is more recent than")
        if _HEADER in flags.get("gcc.cxxflags", _HEADER):
            settings["gcc"] = {"cxxflags": f"{cxxflags} {_compat_flags()}"}
        elif "dnn.enabled" not in flags:
            settings["dnn"] = {"enabled": "False"}
            print(f"warning: cuDNN {version[0]} is left out, because gcc.cxxflags is set and does not have: "
                  f"-include {_HEADER}", file=sys.stderr)
    return settings


def _compat_flags():
    """Theano keeps compiled code as long as the flags are the same; these change with the header's text."""
    with open(os.path.join(_FOLDER, _HEADER), "rb") as file:
        return f"-include {_HEADER} -DSPARSEVD_CUDNN_COMPAT={zlib.crc32(file.read())}"


def _add_to_include_path(folder):
    """By the environment: Theano splits its compiler flags at spaces, which a path may have."""
    folders = [part for part in os.environ.get("CPATH", "").split(os.pathsep) if part]
    if folder not in folders:
        os.environ["CPATH"] = os.pathsep.join([*folders, folder])


def _link_folder(library, flags):
    """A folder in which the linker and Theano find a library of cuDNN by the name of libcudnn.so.

    It stands beside Theano's compiled code, for which it has to stay the same: Theano knows that code by its flags.
    """
    base = os.path.expanduser(flags.get("base_compiledir") or "~/.theano")
    folder = os.path.join(base, f"libcudnn-{zlib.crc32(library.encode()):08x}")
    link = os.path.join(folder, "libcudnn.so")
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(link):
            temporary = f"{link}.{os.getpid()}"
            os.symlink(os.path.abspath(library), temporary)
            os.replace(temporary, link)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another folder with "
                        "THEANO_FLAGS=base_compiledir=FOLDER") from None
    return folder
