"""utils/theano_setup/gpu.py, with folders and libraries that look like CUDA's and cuDNN's."""

import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT
from utils.theano_setup import gpu
from utils.errors import UserError

PREPARE = """
import ctypes, json, os, sys
sys.path.insert(0, sys.argv[1])
from utils.theano_setup import gpu
settings = gpu.prepare(json.loads(sys.argv[2]), "-O3")
answers = [ctypes.CDLL(f"lib{name}.so").answer() for name in gpu.REQUIRED]
nvrtc = ctypes.CDLL("libnvrtc.so")
options = [(ctypes.c_char_p * 2)(b"-arch", b"compute_" + number) for number in (b"90", b"10", b"12", b"121")]
answers += [nvrtc.nvrtcCompileProgram(None, 2, option) for option in options]
print(json.dumps([settings, answers, os.environ.get("CPATH", "")]))
"""


# Instead of compiling, it returns the number in -arch compute_NUMBER; but not without its companion, like the real one.
NVRTC = """
#include <dlfcn.h>
#include <stdlib.h>
extern "C" int nvrtcCompileProgram(void *, int, const char *const *options) {
  return dlopen("libnvrtc-builtins.so.13.0", RTLD_LAZY) ? atoi(options[1] + 8) : -1;
}
"""


def library(path, answer, source=""):
    """A shared library with the function answer(), which says its soname to be its file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path), f"-Wl,-soname,{path.name}"],
                   input=f'{source}extern "C" int answer() {{ return {answer}; }}', text=True, check=True)


def header(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cudnn(root, version=(9, 26, 0)):
    library(root / "lib" / f"libcudnn.so.{version[0]}", 0)
    header(root / "include" / "cudnn.h", '#include "cudnn_version.h"\n')
    names = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version)
    header(root / "include" / "cudnn_version.h", "".join(f"#define CUDNN_{name} {value}\n" for name, value in names))


@pytest.fixture
def toolkit(tmp_path):
    """Something like CUDA 13, in a folder with a space in its name; and a pygpu that can be imported."""
    root = tmp_path / "cuda 13"
    for answer, name in enumerate(("libcuda.so.1", "libnvrtc.so.13", "libcublas.so.13")):
        library(root / "lib64" / name, answer, NVRTC if "nvrtc" in name else "")
    library(root / "lib64" / "libnvrtc-builtins.so.13.0", 0)
    header(root / "include" / "crt" / "host_defines.h")
    header(tmp_path / "modules" / "pygpu" / "__init__.py")
    header(tmp_path / "modules" / "pygpu" / "gpuarray.py")
    return root


def prepare(toolkit, **flags):
    """What prepare() makes of the flags, in a process of its own: settings, answers, CPATH, and its messages."""
    flags = {"device": "cuda0", "base_compiledir": str(toolkit.parent / "compiled"),
             **{name.replace("__", "."): value for name, value in flags.items()}}
    environment = {name: value for name, value in os.environ.items() if name not in ("CPATH", "CUDA_PATH", "CUDA_ROOT")}
    environment.update(CUDA_HOME=str(toolkit), PYTHONPATH=str(toolkit.parent / "modules"))
    result = subprocess.run([sys.executable, "-c", PREPARE, ROOT, json.dumps(flags)], env=environment,
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return *json.loads(result.stdout), result.stderr


@pytest.mark.parametrize("flags, kind, expected", [
    ({}, "cuda", None), ({"device": "cpu"}, "cuda", None), ({"device": "cuda"}, "cuda", "device=cuda"),
    ({"device": "opencl0:0"}, "cuda", None), ({"device": "opencl0:0"}, "opencl", "device=opencl0:0"),
    ({"init_gpu_device": "cuda1"}, "cuda", "init_gpu_device=cuda1"),
    ({"contexts": "a->opencl0:0;b->cuda1"}, "cuda", "contexts=a->opencl0:0;b->cuda1")])
def test_which_device_is_asked_for(flags, kind, expected):
    assert gpu.asked_for(flags, kind) == expected


def test_a_cpu_needs_nothing(monkeypatch):
    monkeypatch.setattr(gpu, "find_library", None)
    assert gpu.prepare({"device": "cpu"}, "-O3") == {}


def test_the_names_that_libgpuarray_opens_lead_to_the_libraries(toolkit):
    settings, answers, cpath, _ = prepare(toolkit)
    assert answers[:3] == [0, 1, 2]
    assert settings["cuda"] == {"include_path": str(toolkit / "include")}
    assert cpath.split(os.pathsep)[0] == str(toolkit / "include")


def test_a_compute_capability_of_three_digits_is_what_libgpuarray_means(toolkit):
    """libgpuarray cuts off the third; 10.0 and 12.0 are the capabilities that it can mean."""
    assert prepare(toolkit)[1][3:] == [90, 100, 120, 121]


def test_cudnn_9_compiles_with_the_header(toolkit):
    cudnn(toolkit)
    settings, _, cpath, messages = prepare(toolkit)
    flags = settings["gcc"]["cxxflags"].split(" ")
    assert flags[0] == "-O3" and settings["dnn"]["include_path"] == str(toolkit / "include") and not messages
    assert settings["dnn"]["library_path"] == settings["dnn"]["bin_path"]
    assert set(settings["dnn.conv"].values()) == {"time_once"}
    link = os.path.join(settings["dnn"]["bin_path"], "libcudnn.so")
    assert os.path.realpath(link) == str(toolkit / "lib" / "libcudnn.so.9")

    source = "#include <cudnn.h>\nint preference = CUDNN_CONVOLUTION_FWD_PREFER_FASTEST + CUDNN_MAJOR;\n"
    compiled = subprocess.run(["g++", *flags, f"-I{toolkit / 'include'}", "-fsyntax-only", "-x", "c++", "-"],
                              input=source, text=True, capture_output=True, env={**os.environ, "CPATH": cpath})
    assert compiled.returncode == 0, compiled.stderr
    assert prepare(toolkit)[0] == settings


def test_cudnn_7_does_without_the_header(toolkit):
    cudnn(toolkit, (7, 6, 5))
    settings = prepare(toolkit)[0]
    assert settings["dnn"]["include_path"] == str(toolkit / "include") and "gcc" not in settings


def test_cudnn_can_be_turned_off(toolkit):
    cudnn(toolkit)
    assert set(prepare(toolkit, dnn__enabled="False")[0]) == {"cuda"}


def test_the_users_compiler_flags_win(toolkit):
    cudnn(toolkit)
    settings, *_, messages = prepare(toolkit, gcc__cxxflags="-O1")
    assert settings["dnn"] == {"enabled": "False"} and "gcc" not in settings
    assert messages.count("\n") == 1 and "-include cudnn_compat.h" in messages
    settings, *_, messages = prepare(toolkit, gcc__cxxflags="-O1 -include cudnn_compat.h")
    assert "enabled" not in settings["dnn"] and not messages


def test_the_users_cudnn_wins(toolkit, tmp_path):
    cudnn(toolkit, (7, 6, 5))
    cudnn(tmp_path / "other")
    settings = prepare(toolkit, dnn__base_path=str(tmp_path / "other"))[0]
    assert "dnn" not in settings and "-include" in settings["gcc"]["cxxflags"]


def test_pypis_packages_are_found(tmp_path, monkeypatch):
    for name in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    cudnn(tmp_path / "nvidia" / "cudnn")
    library(tmp_path / "nvidia" / "cu99" / "lib" / "libnvrtc.so.9", 0)
    library(tmp_path / "nvidia" / "cu99" / "lib" / "libnvrtc.so.10", 0)
    header(tmp_path / "nvidia" / "cu99" / "lib" / "libnvrtc-builtins.so.11")
    header(tmp_path / "nvidia" / "cu99" / "include" / "some_header.h")
    assert gpu.find_library("nvrtc") == str(tmp_path / "nvidia" / "cu99" / "lib" / "libnvrtc.so.10")
    assert gpu.find_header("some_header.h") == str(tmp_path / "nvidia" / "cu99" / "include")
    include, path = gpu.find_cudnn()
    assert include == str(tmp_path / "nvidia" / "cudnn" / "include") and path.endswith("libcudnn.so.9")
    assert gpu.cudnn_version(include) == (9, 26, 0)
    assert gpu.find_header("no_header.h") is None


def test_the_loaders_libraries_are_found_with_their_path():
    assert os.path.exists(gpu.find_library("m"))
    assert gpu.find_library("there_is_no_such_library") is None


@pytest.mark.parametrize("missing, advice", [
    ("pygpu", "docs/gpu.md"), ("cuda", "driver"), ("nvrtc", "requirements-gpu.txt"),
    ("cublas", "requirements-gpu.txt")])
def test_what_is_missing_is_said_in_one_line(monkeypatch, missing, advice):
    monkeypatch.setattr(gpu, "pygpu_problem", lambda: "pygpu is bad" if missing == "pygpu" else None)
    monkeypatch.setattr(gpu, "find_library", lambda name, flags: None if name == missing else "/some/path")
    monkeypatch.setattr(gpu, "load_library", lambda *arguments: None)
    with pytest.raises(UserError) as error:
        gpu.prepare({"device": "cuda"}, "-O3")
    text = str(error.value)
    assert "device=cuda was asked for" in text and missing in text and advice in text and "\n" not in text


def test_a_library_that_does_not_load_is_named(toolkit):
    (toolkit / "lib64" / "libnvrtc.so.13").write_text("no library")
    with pytest.raises(AssertionError, match=r"libnvrtc.so.13 cannot be loaded .*requirements-gpu.txt"):
        prepare(toolkit)
