"""experiments/doctor.py, and nets/training/trial_step.py by means of it."""

import os
import subprocess

import numpy as np
import pytest

import scripts
from conftest import ROOT
from experiments import doctor
from utils.theano_setup import gpu
from utils.errors import UserError


def run_doctor(*arguments, **environment):
    result = scripts.run("doctor", *arguments, cwd=ROOT, **environment)
    return result.returncode, result.stdout


def test_a_set_up_that_works():
    status, report = run_doctor()
    words = {line[7:24].strip(): line.split()[0] for line in report.splitlines()[:-1]}
    assert status == 0 and "WRONG" not in words.values(), report
    assert all(words[part] == "ok" for part in ("Python", "Theano", "C++ compiler", "OpenMP", "BLAS", "device cpu"))
    assert "GFLOP/s" in report and {"pygpu", "driver", "NVRTC", "cuBLAS", "cuDNN"} <= set(words)


def test_a_device_that_is_not_there():
    # Among all other flags, such as where to compile.
    result = scripts.run("doctor", cwd=ROOT,
                         THEANO_FLAGS=f"{os.environ.get('THEANO_FLAGS', '')},device=opencl99:0")
    line, = [line for line in result.stdout.splitlines() if line.startswith("WRONG  device opencl99:0 ")]
    assert result.returncode == 1 and "UserError" not in line and "Traceback" not in result.stderr


def test_settings_that_cannot_be_read():
    status, report = run_doctor(THEANO_FLAGS="floatX='float32")
    assert status == 1 and not report


def checks(function, flags):
    return {check.part: check for check in function(flags)}


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = checks(doctor.check_basics, {})
    assert found["C++ compiler"].good is False and "apt install g++" in found["C++ compiler"].text
    assert found["Python"].good and found["numpy"].text == np.__version__


def test_a_compiler_that_cannot_compile():
    found = checks(doctor.check_basics, {"cxx": "/bin/false"})
    assert found["C++ compiler"].good is False and found["OpenMP"].good is False


def test_what_a_gpu_lacks(monkeypatch):
    monkeypatch.setattr(gpu, "pygpu_problem", lambda: "no pygpu")
    for function in ("find_library", "find_header"):
        monkeypatch.setattr(gpu, function, lambda name, flags=None: None)
    monkeypatch.setattr(gpu, "find_cudnn", lambda flags=None: (None, None))
    for_cpu, for_cuda = checks(doctor.check_gpu, {}), checks(doctor.check_gpu, {"device": "cuda"})
    assert {check.good for check in for_cpu.values()} == {None}
    for part, advice in [("pygpu", "docs/gpu.md"), ("driver", "NVIDIA's driver"), ("NVRTC", "requirements-gpu.txt"),
                         ("cuBLAS", "requirements-gpu.txt")]:
        assert for_cuda[part].good is False and advice in for_cuda[part].text
    # Slower without, but it works.
    assert for_cuda["cuDNN"].good is None


DRIVER = """
#include <stdio.h>
extern "C" {
int cuInit(int) { return STATUS; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGetName(char *name, int size, int) { snprintf(name, size, "Some GPU"); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) { *value = attribute == 75 ? 12 : 1; return 0; }
}
"""


@pytest.mark.parametrize("status, good, expected", [(0, True, "up to 13.2"), (100, False, "error 100")])
def test_the_driver_and_its_devices(monkeypatch, tmp_path, status, good, expected):
    driver = str(tmp_path / "libcuda.so.1")
    subprocess.run(["g++", "-shared", "-fPIC", f"-DSTATUS={status}", "-x", "c++", "-", "-o", driver], input=DRIVER,
                   text=True, check=True)
    monkeypatch.setattr(gpu, "find_library", lambda name, flags=None: driver if name == "cuda" else None)
    found = checks(doctor.check_gpu, {"device": "cuda"})
    assert found["driver"].good is good and expected in found["driver"].text
    assert ("cuda0" in found) == good
    if good:
        assert "Some GPU, compute capability 12.1" in found["cuda0"].text


RESULT = {"W": np.array([1.0, -4.0]), "kl": np.array(100.0)}


@pytest.mark.parametrize("found, expected", [
    (RESULT, (0.0, "kl")),
    ({**RESULT, "W": np.array([1.0, -4.004])}, (0.001, "W")),
    ({**RESULT, "kl": np.array(np.nan)}, (np.inf, "kl")),
    ({**RESULT, "W": np.array([1.0])}, (np.inf, "W")),
    ({"W": RESULT["W"]}, (np.inf, "kl"))])
def test_difference_of_results(found, expected):
    error, name = doctor.difference(found, RESULT)
    assert error == pytest.approx(expected[0]) and name == expected[1]


@pytest.mark.parametrize("kl, good", [(100.01, True), (101.0, False)])
def test_a_device_is_good_if_its_step_is_the_cpus(monkeypatch, kl, good):
    def trial(*options, device=None):
        return (RESULT, "CPU") if device == "cpu" else ({**RESULT, "kl": np.array(kl)}, "GPU")
    monkeypatch.setattr(doctor, "_trial", trial)
    device = checks(doctor.check_device, {"device": "cuda0"})["device cuda0"]
    assert device.good is good and "GPU" in device.text and (good or "kl" in device.text)


def test_a_step_that_fails_is_told_in_one_line(monkeypatch, capfd):
    def run(command, **keywords):
        return subprocess.CompletedProcess(command, 1, "", "Theano's words\nRuntimeError: it fails\n")
    monkeypatch.setattr(doctor, "_run", run)
    with pytest.raises(UserError, match="^RuntimeError: it fails$"):
        doctor._trial()
    assert capfd.readouterr().err == "Theano's words\n"
    monkeypatch.setattr(doctor, "_run", lambda command, **keywords: subprocess.CompletedProcess(command, -11, "", ""))
    with pytest.raises(UserError, match="SIGSEGV"):
        doctor._trial()
