"""What some parts of a training come to, on the device of THEANO_FLAGS: the same numbers are expected of each device.

    python tests/device_results.py weights|kernels|variances FILE

A program of its own, since a process has one device. Theano has no softmax and no random numbers for OpenCL, and
libgpuarray no products without CLBlast; so these are parts that do without.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import nets  # noqa: E402,F401  prepares Theano
import lasagne  # noqa: E402
import numpy as np  # noqa: E402
import theano  # noqa: E402
import theano.tensor as T  # noqa: E402
from lasagne.nonlinearities import identity, rectify  # noqa: E402

from nets import kernels, methods  # noqa: E402
from nets.architectures import lenet_300_100  # noqa: E402
from nets.params import named_params  # noqa: E402
from nets.sparsity import EffectiveParams  # noqa: E402

__all__ = ["of_kernels", "of_variances_below_zero", "of_weights"]


def of_weights(steps=3):
    """Minimizes the KL term of LeNet-300-100's first layer, from parameters that are the same on every device.

    Returns
    -------
    dict
        what comes out, and the names of the operations that ran on the CPU: {name: array}
    """
    rng = np.random.RandomState(3)
    lasagne.random.set_rng(rng)
    net = lasagne.layers.get_all_layers(lenet_300_100(methods.make("sparse-vd")))[1]
    net.set_log_sigma2(rng.uniform(-14, -4, net.W.get_value().shape))
    kl = net.get_kl()
    step = theano.function([], kl, updates=kernels.adam(kl, [net.W, net.log_sigma2], 1e-3))
    result = {"kl": np.array([float(step()) for _ in range(steps)])}
    result["nonzero"] = np.array([layer.nonzero for layer in EffectiveParams(net).count_layers()])
    result.update((f"pruned {name}", value) for name, value in EffectiveParams(net).named_values().items())
    result.update((name, param.get_value()) for name, param in named_params(net).items())
    # Numbers without dimensions are reckoned on the CPU; arrays are not to leave the device.
    on_cpu = {type(node.op).__name__ for node in step.maker.fgraph.apply_nodes for output in node.outputs
              if isinstance(output.type, theano.tensor.TensorType) and output.type.ndim}
    return {**result, "on cpu": np.array(sorted(on_cpu))}


def of_kernels():
    """The operations that a GPU has kernels for, and their gradients, of the same numbers on every device.

    Returns
    -------
    dict
        {name: array}, and the names of the operations, once each
    """
    rng = np.random.RandomState(0)
    found, operations = {}, set()

    def shared(shape, low=-1.0, high=1.0):
        return theano.shared(rng.uniform(low, high, shape).astype(np.float32))

    def compiled(outputs=None, updates=None):
        function = theano.function([], outputs, updates=updates)
        operations.update(type(node.op).__name__ for node in function.maker.fgraph.apply_nodes)
        return function

    def evaluate(name, outputs):
        for number, value in enumerate(compiled(outputs)()):
            found[f"{name} {number}"] = np.asarray(value)

    # More elements than the threads of all blocks, fewer than a block has, and several axes.
    for shape in ((300, 1000), (7,), (20, 5, 3, 3)):
        for pruned_noise, pruned_kl in ((True, False), (False, True)):
            theta, log_sigma2 = shared(shape), shared(shape, -14, 4)
            constants = kernels.PosteriorConstants(3.0, 8.0, 1e-8, pruned_noise, pruned_kl)
            posterior = kernels.posterior(theta, log_sigma2, constants)
            loss = T.sum(posterior.kept * shared(shape)) + T.sum(posterior.variances * shared(shape))
            evaluate(f"posterior {shape} {pruned_noise}",
                     [*posterior, *T.grad(loss + np.float32(0.7) * posterior.kl, [theta, log_sigma2])])

    for shape in ((100, 300), (10, 16, 32, 32), (3, 5, 7, 2)):
        for nonlinearity in (rectify, identity):
            mean, noise, b = shared(shape), shared(shape), shared(shape[1])
            variance = shared(shape, 0.1)
            sampled = kernels.sample(mean, variance, noise, b, 1e-8, nonlinearity)
            evaluate(f"sample {shape} {nonlinearity.__name__}",
                     [sampled, *T.grad(T.sum(sampled * shared(shape)), [mean, variance, b])])

    stream = kernels.normal_stream(2 ** 63 + 5)
    draw = compiled([stream.normal((3, 1000)), stream.normal((5, 7, 9))])
    for time in ("first", "second"):
        for number, value in enumerate(draw()):
            found[f"normal, {time} draw {number}"] = np.asarray(value)

    params = [theano.shared(rng.normal(size=shape).astype(np.float32), name)
              for name, shape in (("matrix", (30, 40)), ("vector", (40,)))]
    gradients = [T.sqr(param) - 1 for param in params]
    updates = kernels.adam(gradients, params, theano.shared(np.float32(0.1)))
    step = compiled(updates=updates)
    for _ in range(3):
        step()
    found.update((f"adam {variable.name}", variable.get_value()) for variable in updates)
    return {**found, "operations": np.array(sorted(operations))}


def of_variances_below_zero():
    """What is sampled, and the gradients, where a convolution has rounded a variance of 0 to below 0."""
    mean, b = theano.shared(np.ones((4, 3), np.float32)), theano.shared(np.zeros(3, np.float32))
    variance = theano.shared(np.full((4, 3), -1e-6, np.float32))
    sampled = kernels.sample(mean, variance, mean, b, 1e-8)
    gradients = T.grad(T.sum(sampled), [mean, variance, b])
    return dict(zip(("sampled", "to mean", "to variance", "to b"), theano.function([], [sampled, *gradients])()))


if __name__ == "__main__":
    parts = {"weights": of_weights, "kernels": of_kernels, "variances": of_variances_below_zero}
    np.savez(sys.argv[2], **parts[sys.argv[1]]())
