"""A training step and a convolution that have the same result on every device, to compare devices by.

    python -m nets.training.trial_step FILE            on the device of THEANO_FLAGS; the result goes to FILE (.npz)
    python -m nets.training.trial_step FILE --plain    the same without the project's own operations
"""

import argparse
import time
from types import SimpleNamespace

import lasagne
import numpy as np
import theano
import theano.tensor as T
from theano.configparser import change_flags

from nets import kernels, methods
from nets.architectures import lenet_300_100
from nets.layers.conv import Convolution
from nets.training.trainer import Trainer, seed_generators
from utils import theano_setup

__all__ = ["run", "gigaflops"]

BATCH_SIZE = 50
NUM_BATCHES = 2


def run():
    """Trains LeNet-300-100 with SparseVD for two batches, on images and noise that are the same on every device.

    Returns
    -------
    dict
        the network's parameters, Adam's moments, what training and predictions come to, and a convolution with its
        gradients: {name: array}
    """
    seed_generators(0)
    method = methods.make("sparse-vd")
    net = lenet_300_100(method)
    rng = np.random.RandomState(0)
    for layer in lasagne.layers.get_all_layers(net)[1:]:
        noise = T.constant(rng.normal(size=(BATCH_SIZE, layer.num_units)).astype(theano.config.floatX))
        layer.noise = SimpleNamespace(normal=lambda size, dtype, noise=noise: noise)
        # Some weights below the threshold, some above; no parameter at 0, so that differences can be relative ones.
        layer.set_log_sigma2(rng.uniform(-14, -4, layer.W.get_value().shape))
        layer.b.set_value(rng.normal(size=layer.num_units).astype(np.float32))
    trainer = Trainer(net, method, num_examples=1000)
    images = rng.uniform(size=(NUM_BATCHES * BATCH_SIZE, 1, 28, 28)).astype(np.float32)
    labels = rng.randint(10, size=len(images)).astype(np.int32)
    # A small learning rate: Adam's step has the gradient's sign, which rounding may turn where the gradient is 0.
    batches = zip(np.split(images, NUM_BATCHES), np.split(labels, NUM_BATCHES))
    training, (kl,) = trainer.train_epoch(batches, 1e-5, [1.0])
    nonzero = [layer.nonzero for layer in trainer.count_layers()]
    return {**trainer.state(), "nll": np.array(training.nll), "kl": np.array(kl), "nonzero": np.array(nonzero, float),
            "predictions": np.array(trainer.evaluate(SimpleNamespace(inputs=images, targets=labels)).nll),
            **_convolution(rng)}


def _convolution(rng):
    """Of whole numbers, so that it is exact with the short mantissas (TF32) that cuDNN may take."""
    images, filters, weights = (theano.shared(rng.randint(-3, 4, shape).astype(np.float32))
                                for shape in ((8, 3, 12, 12), (4, 3, 3, 3), (8, 4, 10, 10)))
    convolved = Convolution((8, 3, 12, 12), 4, 3)(images, filters)
    gradients = T.grad(T.sum(convolved * weights), [images, filters])
    # With cuDNN, this is what calls the functions of cudnn_compat.h.
    guess = {f"dnn.conv.algo_{part}": "guess_once" for part in ("fwd", "bwd_data", "bwd_filter")}
    with change_flags(**guess):
        results = theano.function([], [convolved, *gradients])()
    return dict(zip(("convolution", "its gradient to images", "its gradient to filters"), results))


def gigaflops(size=2000, count=5):
    """How fast the device multiplies `count` float32 matrices of `size` rows and columns: 10^9 operations a second."""
    left, right, product = (theano.shared(np.ones((size, size), np.float32)) for _ in range(3))
    multiply = theano.function([], updates=[(product, T.dot(left, right))])
    # A GPU works on after a call has returned, until something is fetched.
    fetch = theano.function([], product[0, 0])
    multiply(), fetch()
    started = time.perf_counter()
    for _ in range(count):
        multiply()
    fetch()
    return 2e-9 * size ** 3 * count / (time.perf_counter() - started)


def _device():
    """The GPU and its cuDNN, or the CPU's BLAS, in words."""
    if theano.config.device == "cpu":
        return theano_setup.describe()["blas"]
    from theano.gpuarray import dnn
    from theano.gpuarray.type import get_context
    context = get_context(None)
    cudnn = f"cuDNN {dnn.version()}" if dnn.dnn_available(None) else f"without cuDNN ({dnn.dnn_available.msg})"
    return f"{context.devname}, {' '.join(cudnn.split())}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="where the result is written (.npz)")
    parser.add_argument("--plain", action="store_true", help="Theano's own operations only")
    options = parser.parse_args()
    kernels.use_plain_graph(options.plain)
    np.savez(options.file, **run())
    print(f"{_device()}, {gigaflops():.0f} GFLOP/s")


if __name__ == "__main__":
    main()
