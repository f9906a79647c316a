"""The operations together: networks train as their plain graphs do."""

import numpy as np
import pytest
import theano
from lasagne.layers import InputLayer, get_all_layers
from lasagne.nonlinearities import softmax
from theano.configparser import change_flags

from nets import kernels
from nets.layers.batch_norm import BatchNormLayer
from nets.params import named_params
from nets.layers.pool import MaxPool2x2Layer
from nets.layers.sparse_vd import SparseVDConv2DLayer, SparseVDDenseLayer
from nets.training.trainer import Trainer, seed_generators

IMAGES, SIDE = 6, 10


class FixedNoise:
    """The same normal numbers for each step, whichever generator a layer would have."""

    def normal(self, shape, dtype):
        size = [IMAGES, *self.shape]
        return theano.shared(np.random.RandomState(len(size)).normal(size=size).astype(dtype))


def network():
    """One of each layer."""
    net = InputLayer((None, 1, SIDE, SIDE))
    net = SparseVDConv2DLayer(net, 3, 3, pad=1, name="conv1")
    net = MaxPool2x2Layer(net)
    net = SparseVDConv2DLayer(net, 4, 2, nonlinearity=None, name="conv2")
    net = BatchNormLayer(net, name="norm")
    net = SparseVDDenseLayer(net, 7, name="dense1")
    return SparseVDDenseLayer(net, 3, nonlinearity=softmax, name="dense2")


def trained(plain, **flags):
    """The parameters after some steps, and the last predictions' loss."""
    kernels.use_plain_graph(plain)
    try:
        seed_generators(1)
        net = network()
        for layer in get_all_layers(net):
            if hasattr(layer, "get_kl"):
                layer._srng = FixedNoise()
                layer._srng.shape = layer.output_shape[1:]
                layer.set_log_sigma2(-3)
        with change_flags(**flags):
            trainer = Trainer(net, num_examples=IMAGES)
        rng = np.random.RandomState(2)
        images = rng.normal(size=(5 * IMAGES, 1, SIDE, SIDE))
        labels = rng.randint(3, size=len(images)).astype("int32")
        train, kl = trainer.train_epoch(zip(np.split(images, 5), np.split(labels, 5)), 0.05, 1.0)
        arrays = {name: variable.get_value() for name, variable in named_params(net).items()}
        return arrays, [train.nll, kl, trainer.evaluate(images, labels).nll]
    finally:
        kernels.use_plain_graph(False)


@pytest.fixture(scope="module")
def plain():
    with change_flags(floatX="float64"):
        return trained(plain=True)


@pytest.mark.parametrize("flags", [{}, {"linker": "py", "optimizer": "fast_compile"}], ids=["C++", "Python"])
def test_training_is_that_of_the_plain_graph(float64, plain, flags):
    arrays, losses = trained(plain=False, **flags)
    assert arrays.keys() == plain[0].keys()
    # A bias before batch normalization has a gradient of rounding errors only, which Adam makes something of.
    for name, expected in plain[0].items():
        np.testing.assert_allclose(arrays[name], expected, rtol=1e-9, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(losses, plain[1], rtol=1e-9)
