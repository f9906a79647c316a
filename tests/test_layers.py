"""What every layer with weights must do: a line a layer, a function a claim, in C++ and in the plain graph.

What is particular to one of them is in its own file.
"""

from collections import namedtuple

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

import reference
from conftest import GivenNoise
from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer
from nets.layers.sparse_vd import SparseVDConv2DLayer, SparseVDDenseLayer
from nets.params import named_params
from nets.sparsity import EffectiveParams

#: make, dense : callable(incoming, **kwargs) of the layer, and of the dense one that stands for it once it is pruned.
Kind = namedtuple("Kind", "make dense shape")


def kind(make, dense, shape, *arguments, **kwargs):
    return Kind(lambda incoming, **more: make(incoming, *arguments, name="layer", **{**kwargs, **more}),
                lambda incoming, **more: dense(incoming, *arguments, name="layer", **{
                    key: value for key, value in {**kwargs, **more}.items() if key != "parameterization"}), shape)


DENSE, CONV = (5, 2, 3, 4), (3, 2, 7, 6)
LAYERS = {
    "dense": kind(DenseLayer, DenseLayer, DENSE, 4),
    "conv": kind(Conv2DLayer, Conv2DLayer, CONV, 3, 3, pad=1),
    "SparseVD dense": kind(SparseVDDenseLayer, DenseLayer, DENSE, 4),
    "SparseVD conv": kind(SparseVDConv2DLayer, Conv2DLayer, CONV, 3, (3, 2), stride=2, pad=1),
    "multiplicative": kind(SparseVDDenseLayer, DenseLayer, DENSE, 4, parameterization="multiplicative"),
}


@pytest.fixture(params=LAYERS)
def kind_of_layer(request, graph):
    """Each layer, in each of the graphs."""
    lasagne.random.set_rng(np.random.RandomState(1))
    return LAYERS[request.param]


def is_random(layer):
    return hasattr(layer, "noise")


def with_posterior(layer, rng, lowest=-9.0, highest=9.0):
    """Weights and biases that are not special, log alpha from one clip beyond the other."""
    W = (rng.uniform(0.3, 1.5, layer.W.get_value().shape) * rng.choice([-1, 1], layer.W.get_value().shape))
    layer.W.set_value(W.astype(layer.W.dtype))
    layer.b.set_value(rng.normal(size=layer.b.get_value().shape).astype(layer.b.dtype))
    if is_random(layer):
        layer.set_log_sigma2(rng.permutation(np.linspace(lowest, highest, W.size)).reshape(W.shape) + np.log(W ** 2))
    return layer


def images(kind, rng):
    """Of floatX: a Theano variable, and numbers for it."""
    return (T.TensorType(theano.config.floatX, (False,) * len(kind.shape))("images"),
            rng.normal(size=kind.shape).astype(theano.config.floatX))


def test_the_pruned_layer_is_a_dense_layer_bit_for_bit(kind_of_layer, rng, evaluate):
    layer = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng)
    dense = kind_of_layer.dense((None, *kind_of_layer.shape[1:]))
    x, numbers = images(kind_of_layer, rng)
    effective = EffectiveParams(layer)
    values = effective.named_values()
    assert list(values) == list(named_params(dense))
    for name, param in named_params(dense).items():
        param.set_value(values[name])
    nonzero = sum(np.count_nonzero(values[f"layer.{param.name.split('.')[-1]}"]) for param in layer.weights)
    assert effective.count_layers() == [("layer", layer.W.get_value().size, nonzero)]
    assert nonzero < layer.W.get_value().size or not is_random(layer)
    found = evaluate([layer.get_output_for(x, deterministic=True, effective=effective.variables),
                      layer.get_output_for(x, deterministic=True), dense.get_output_for(x)], {x: numbers})
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])


def test_without_noise_training_is_the_dense_layers(kind_of_layer, rng, evaluate, float64):
    layer = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng, highest=2.5)
    layer.noise = GivenNoise(np.zeros((kind_of_layer.shape[0], *layer.output_shape[1:])))
    dense = kind_of_layer.dense((None, *kind_of_layer.shape[1:]), W=layer.W.get_value(), b=layer.b.get_value())
    x, numbers = images(kind_of_layer, rng)
    np.testing.assert_allclose(*evaluate([layer.get_output_for(x), dense.get_output_for(x)], {x: numbers}), rtol=1e-12)


def test_training_is_random_and_prediction_is_not(kind_of_layer, rng, evaluate):
    layer = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng)
    x, numbers = images(kind_of_layer, rng)
    outputs = [layer.get_output_for(x), layer.get_output_for(x, deterministic=True)]
    draw = evaluate.function(outputs, {x: numbers})
    (training, prediction), (again, same) = draw(), draw()
    assert (training == again).all() != is_random(layer)
    np.testing.assert_array_equal(prediction, same)


def test_the_kl_term_is_numpys(kind_of_layer, rng, evaluate, float64):
    layer = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng)
    if not hasattr(layer, "get_kl"):
        pytest.skip("has no posterior")
    W = layer.W.get_value()
    log_alpha = evaluate(layer.posterior.log_alpha)
    assert evaluate(layer.get_kl()) == pytest.approx(reference.kl(W, log_alpha + np.log(W ** 2 + 1e-8)), rel=1e-9)


def test_a_nan_is_seen(kind_of_layer, rng, evaluate):
    x, numbers = images(kind_of_layer, rng)
    layer = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng)
    draw = evaluate.function([layer.get_output_for(x), layer.get_output_for(x, deterministic=True)], {x: numbers})
    for param in layer.get_params():
        value = param.get_value()
        param.set_value(np.full_like(value, np.nan))
        training, prediction = draw()
        # A weight whose log alpha is NaN is not pruned: it has no log alpha >= threshold.
        assert np.isnan(training).any() and (np.isnan(prediction).any() or param not in (layer.W, layer.b))
        param.set_value(value)


def test_biases_can_be_left_out(kind_of_layer, rng, evaluate):
    with_biases = with_posterior(kind_of_layer.make((None, *kind_of_layer.shape[1:])), rng)
    with_biases.b.set_value(0 * with_biases.b.get_value())
    x, numbers = images(kind_of_layer, rng)
    names = [name for name in named_params(with_biases) if name != "layer.b"]
    layer = kind_of_layer.make((None, *kind_of_layer.shape[1:]), b=None)
    assert list(named_params(layer)) == names
    for param, value in zip(layer.get_params(),
                            (param for param in with_biases.get_params() if param != with_biases.b)):
        param.set_value(value.get_value())
    if is_random(layer):
        layer.noise = with_biases.noise = GivenNoise(rng.normal(size=(kind_of_layer.shape[0], *layer.output_shape[1:]))
                                                     .astype(theano.config.floatX))
    np.testing.assert_allclose(*evaluate([layer.get_output_for(x), with_biases.get_output_for(x)], {x: numbers}),
                               rtol=1e-5, atol=1e-6)


def test_only_weights_are_regularized_and_only_theirs_count(kind_of_layer):
    layer = kind_of_layer.make((None, *kind_of_layer.shape[1:]))
    assert layer.get_params(regularizable=True) == layer.weights == [layer.W]
    assert layer.get_params(training_only=False) == [layer.W, layer.b]
