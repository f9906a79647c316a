"""The paper's networks: their sizes, and that every method builds the same function."""

from functools import partial

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import DropoutLayer, get_all_layers, get_output

from nets import methods
from nets.architectures import lenet_300_100, lenet_500_300, lenet_5_caffe, vgg_like
from nets.params import named_params
from utils.errors import UserError

METHODS = {name: partial(methods.make, name) for name in ("sparse-vd", "dense", "binary-dropout")}


def num_weights(net):
    return sum(param.get_value().size for name, param in named_params(net).items() if name.endswith(".W"))


def vgg_like_by_hand(k, num_classes=10):
    a, b, c, d = (int(width * k) for width in (64, 128, 256, 512))
    return (9 * (3 * a + a * a) + 9 * (a * b + b * b) + 9 * (b * c + 2 * c * c) + 9 * (c * d + 2 * d * d)
            + 9 * 3 * d * d + d * d + d * num_classes)


@pytest.mark.parametrize("method", METHODS)
def test_the_lenets_have_the_papers_numbers_of_weights(method):
    assert num_weights(lenet_300_100(METHODS[method]())) == 266200
    assert num_weights(lenet_500_300(METHODS[method]())) == 545000
    assert num_weights(lenet_5_caffe(METHODS[method]())) == 430500
    assert num_weights(lenet_300_100(METHODS[method](), k=2)) == 784 * 600 + 600 * 200 + 200 * 10


def test_a_width_that_leaves_nothing_of_a_layer_is_refused():
    with pytest.raises(UserError, match="--k 0.01 leaves nothing of a layer of 64: give a larger one"):
        vgg_like(methods.make("dense"), k=0.01)


@pytest.mark.parametrize("k, weights", [(0.25, 937_392), (0.5, 3_746_144), (0.7, 7_321_124), (1, 14_977_728),
                                        (1.5, 33_694_752)])
def test_the_vgg_likes_have_the_numbers_of_weights_counted_by_hand(k, weights):
    assert vgg_like_by_hand(k) == weights
    assert num_weights(vgg_like(methods.make("dense"), k=k)) == weights


def test_vgg_like_has_the_papers_layers():
    net = vgg_like(methods.make("binary-dropout"), k=0.25, num_classes=20)
    layers = get_all_layers(net)
    assert net.output_shape == (None, 20)
    assert [layer.output_shape[1:] for layer in layers if type(layer).__name__ == "MaxPool2x2Layer"] == [
        (16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2), (128, 1, 1)]
    assert [layer.p for layer in layers if isinstance(layer, DropoutLayer)] == [0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4,
                                                                               0.4, 0.5]
    assert [layer.epsilon for layer in layers if hasattr(layer, "epsilon")] == [1e-3] * 14
    assert not any(isinstance(layer, DropoutLayer) for layer in get_all_layers(vgg_like(methods.make("dense"), k=0.25)))


@pytest.mark.parametrize("build, shape", [(lenet_300_100, (1, 28, 28)), (lenet_5_caffe, (1, 28, 28)),
                                          (lambda method: vgg_like(method, k=0.0625), (3, 32, 32))])
def test_all_methods_predict_the_same_from_the_same_weights(build, shape, rng, float64):
    images = rng.normal(size=(3, *shape))
    x = T.tensor4()
    values, outputs = None, []
    for build_method in (METHODS["dense"], METHODS["binary-dropout"],
                         lambda: methods.make("sparse-vd", threshold=np.inf)):
        net = build(build_method())
        params = named_params(net, training_only=False)
        if values is None:
            values = {name: rng.uniform(0.5, 1.5, param.get_value().shape) * (0.1 if name.endswith("W") else 1)
                      for name, param in params.items()}
        assert list(params) == list(values)
        for name, param in params.items():
            param.set_value(values[name])
        outputs.append(theano.function([x], get_output(net, x, deterministic=True), mode="FAST_COMPILE")(images))
    assert np.ptp(outputs[0]) > 1e-3
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-12)
    np.testing.assert_allclose(outputs[2], outputs[0], rtol=1e-12)
