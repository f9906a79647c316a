"""A layer's parameters on a device other than the CPU: OpenCL, which runs without a GPU too (PoCL).

What the weights of LeNet-300-100's first layer go through in training, but for the images: log alpha, KL, its gradient,
Adam, pruning. Theano has no softmax and no random numbers for OpenCL, and libgpuarray no products without CLBlast.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from utils.theano_setup import gpu

DEVICE = "opencl0:0"


def kl_steps(steps=3):
    """Minimizes the layer's KL term, from parameters that are the same on every device.

    Returns
    -------
    dict
        what comes out, and the names of the operations that ran on the CPU: {name: array}
    """
    import nets  # noqa: F401  prepares Theano
    import lasagne
    import theano
    from nets import methods
    from nets.architectures import lenet_300_100
    from nets.params import named_params
    from nets.sparsity import EffectiveParams

    rng = np.random.RandomState(3)
    lasagne.random.set_rng(rng)
    net = lasagne.layers.get_all_layers(lenet_300_100(methods.make("sparse-vd")))[1]
    net.set_log_sigma2(rng.uniform(-14, -4, net.W.get_value().shape))
    kl = net.get_kl()
    step = theano.function([], kl, updates=lasagne.updates.adam(kl, [net.W, net.log_sigma2], 1e-3))
    result = {"kl": np.array([float(step()) for _ in range(steps)])}
    result["nonzero"] = np.array([layer.nonzero for layer in EffectiveParams(net).count_layers()])
    result.update((f"pruned {name}", value) for name, value in EffectiveParams(net).named_values().items())
    result.update((name, param.get_value()) for name, param in named_params(net).items())
    # Numbers without dimensions are reckoned on the CPU; arrays are not to leave the device.
    on_cpu = {type(node.op).__name__ for node in step.maker.fgraph.apply_nodes for output in node.outputs
              if isinstance(output.type, theano.tensor.TensorType) and output.type.ndim}
    return {**result, "on cpu": np.array(sorted(on_cpu))}


def on_device(file):
    """Runs `kl_steps` on `DEVICE` in a process of its own; its result, or None and what was said instead."""
    environment = {**os.environ, "PYTHONPATH": ROOT,
                   "THEANO_FLAGS": f"{os.environ.get('THEANO_FLAGS', '')},device={DEVICE}".lstrip(",")}
    process = subprocess.run([sys.executable, __file__, file], env=environment, capture_output=True, text=True,
                             timeout=600)
    if process.returncode:
        return None, process.stderr
    with np.load(file) as arrays:
        return dict(arrays), process.stderr


def test_the_weights_updates_are_the_cpus(tmp_path):
    problem = gpu.pygpu_problem()
    if problem:
        pytest.skip(problem)
    found, messages = on_device(str(tmp_path / "result.npz"))
    if not found and "UserError: device=opencl" in messages:
        pytest.skip(f"there is no OpenCL device {DEVICE} (Debian: apt install pocl-opencl-icd)")
    assert found, messages
    assert f"device {DEVICE}" in messages and found.pop("on cpu").size == 0

    expected = kl_steps()
    assert expected.pop("on cpu").size > 0
    np.testing.assert_allclose(found.pop("kl"), expected.pop("kl"), rtol=1e-5)
    # A weight at the threshold may fall on either side.
    np.testing.assert_allclose(found.pop("nonzero"), expected.pop("nonzero"), atol=2)
    assert set(found) == set(expected)
    for name, array in expected.items():
        close = np.isclose(found[name], array, rtol=1e-4, atol=1e-5)
        assert close.mean() > 0.9999, name


if __name__ == "__main__":
    np.savez(sys.argv[1], **kl_steps())
