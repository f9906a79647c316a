import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_all_params, get_output

from conftest import QUICK
from nets.layers.batch_norm import BatchNormLayer


@pytest.fixture(params=[(6, 3), (6, 3, 4, 5)], ids=["dense", "conv"])
def case(request, rng):
    """Inputs, and a layer with parameters of no special values; per-channel vectors broadcast by `along`."""
    images = rng.normal(size=request.param) * 2 + 1
    with theano.configparser.change_flags(floatX="float64"):
        layer = BatchNormLayer(InputLayer((None, *request.param[1:])), lasagne.nonlinearities.rectify, epsilon=0.01,
                               alpha=0.25)
        for param in layer.get_params():
            param.set_value(rng.uniform(0.5, 2, 3))

    def along(vector):
        return vector.reshape(1, 3, *[1] * (images.ndim - 2))
    return images, layer, along


def normalized(images, layer, along, mean, inv_std):
    beta, gamma = (param.get_value() for param in (layer.beta, layer.gamma))
    return np.maximum((images - along(mean)) * along(inv_std * gamma) + along(beta), 0)


def moments(images):
    """Mean and 1 / sqrt(variance + epsilon) of each channel, by a loop over the channels."""
    values = [np.moveaxis(images, 1, 0)[channel].ravel() for channel in range(3)]
    mean = np.array([np.sum(value) / value.size for value in values])
    variance = np.array([np.sum((value - center) ** 2) / value.size for value, center in zip(values, mean)])
    return mean, 1 / np.sqrt(variance + 0.01)


def test_training_normalizes_by_the_batch_and_moves_the_averages(case, float64, graph):
    images, layer, along = case
    x = T.TensorType("float64", (False,) * images.ndim)()
    mean, inv_std = moments(images)
    before = layer.mean.get_value(), layer.inv_std.get_value()
    train = theano.function([x], get_output(layer, x), mode=QUICK)
    np.testing.assert_allclose(train(images), normalized(images, layer, along, mean, inv_std), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.mean.get_value(), 0.75 * before[0] + 0.25 * mean, rtol=1e-12)
    np.testing.assert_allclose(layer.inv_std.get_value(), 0.75 * before[1] + 0.25 * inv_std, rtol=1e-12)


def test_prediction_normalizes_by_the_averages_and_leaves_them(case, float64, evaluate, graph):
    images, layer, along = case
    x = T.TensorType("float64", (False,) * images.ndim)()
    mean, inv_std = layer.mean.get_value(), layer.inv_std.get_value()
    for _ in range(2):
        found = evaluate(get_output(layer, x, deterministic=True), {x: images[:2]})
        np.testing.assert_allclose(found, normalized(images[:2], layer, along, mean, inv_std), rtol=1e-12)
    np.testing.assert_array_equal(layer.mean.get_value(), mean)
    np.testing.assert_array_equal(layer.inv_std.get_value(), inv_std)


def test_parameters_stand_in_the_order_of_the_originals_files():
    layer = BatchNormLayer(InputLayer((None, 3)), name="norm")
    assert [param.name for param in get_all_params(layer)] == ["norm.beta", "norm.gamma", "norm.mean", "norm.inv_std"]
    assert get_all_params(layer, trainable=True) == [layer.beta, layer.gamma]
    assert get_all_params(layer, regularizable=True) == [layer.gamma]
