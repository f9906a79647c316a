"""The kernels of nets/kernels/gpu/, and a layer's parameters, on OpenCL, which runs without a GPU too (PoCL)."""

import os
import subprocess
import sys

import numpy as np
import pytest

import device_results
from conftest import ROOT
from utils.theano_setup import gpu

DEVICE = "opencl0:0"


@pytest.fixture
def on_device(tmp_path):
    """Calls one of `device_results` on `DEVICE`, in a process of its own; skips where there is none."""
    problem = gpu.pygpu_problem()
    if problem:
        pytest.skip(problem)

    def run(name):
        file = str(tmp_path / "result.npz")
        flags = f"{os.environ.get('THEANO_FLAGS', '')},device={DEVICE}".lstrip(",")
        process = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "device_results.py"), name, file],
                                 env={**os.environ, "THEANO_FLAGS": flags}, capture_output=True, text=True, timeout=600)
        if "UserError: device=opencl" in process.stderr:
            pytest.skip(f"there is no OpenCL device {DEVICE} (Debian: apt install pocl-opencl-icd)")
        assert process.returncode == 0 and f"device {DEVICE}" in process.stderr, process.stderr
        with np.load(file) as arrays:
            return dict(arrays)
    return run


def test_the_weights_updates_are_the_cpus(on_device):
    found = on_device("weights")
    assert found.pop("on cpu").size == 0

    expected = device_results.of_weights()
    assert expected.pop("on cpu").size > 0
    np.testing.assert_allclose(found.pop("kl"), expected.pop("kl"), rtol=1e-5)
    # A weight at the threshold may fall on either side.
    np.testing.assert_allclose(found.pop("nonzero"), expected.pop("nonzero"), atol=2)
    assert set(found) == set(expected)
    for name, array in expected.items():
        close = np.isclose(found[name], array, rtol=1e-4, atol=1e-5)
        assert close.mean() > 0.9999, name


def test_kernels_compute_what_the_cpus_do(on_device):
    found, expected = on_device("kernels"), device_results.of_kernels()
    names = {"GpuPosterior", "GpuPosteriorGradients", "GpuSample", "GpuSampleGradients", "GpuNormal", "GpuAdamStep"}
    assert names <= set(found.pop("operations"))
    assert {"PosteriorOp", "SampleGradients", "NormalOp", "AdamStep"} <= set(expected.pop("operations"))
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=1e-6 * np.max(np.abs(array)), err_msg=name)


def test_a_variance_rounded_to_below_zero_is_zero(on_device):
    found = on_device("variances")
    np.testing.assert_allclose(found["sampled"], 1 + 1e-4, rtol=1e-6)    # epsilon is left of the variance
    np.testing.assert_allclose(found["to variance"], 0.5e4, rtol=1e-5)
