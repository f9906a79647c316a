"""SparseVD layers in training against a float64 numpy model of the authors' code: outputs, KL and all gradients.

The model is written from the description of their layers, epsilon included where they have it: beside theta^2 in the
convolution's forward pass only. Weights lie on both sides of the threshold and of both clips.
"""

import lasagne
import numpy as np
import pytest
import theano.tensor as T
from scipy.special import expit

from conftest import GivenNoise
from nets import kl
from nets.layers.sparse_vd import SparseVDConv2DLayer, SparseVDDenseLayer
from test_conv import correlate

THRESHOLD, CLIP, KL_WEIGHT = 3.0, 8.0, 0.7


def dense_model(x, W, log_sigma2, b, noise, train_clip):
    """The mask is in the mean alone: pruned weights keep their noise."""
    log_alpha = np.clip(log_sigma2 - np.log(W ** 2), -CLIP, CLIP)
    mean = x @ np.where(train_clip & (log_alpha >= THRESHOLD), 0, W)
    variance = x ** 2 @ (np.exp(log_alpha) * W ** 2)
    return mean + np.sqrt(variance + 1e-8) * noise + b


def conv_model(x, W, log_sigma2, b, noise, train_clip):
    """The mask is applied to W before both maps: a pruned weight makes no noise."""
    log_alpha = np.clip(log_sigma2 - np.log(W ** 2 + 1e-8), -CLIP, CLIP)
    W = np.where(train_clip & (log_alpha >= THRESHOLD), 0, W)
    mean = correlate(x, W, 1, (1, 1))
    variance = correlate(x ** 2, np.exp(log_alpha) * W ** 2, 1, (1, 1))
    return mean + np.sqrt(variance + 1e-8) * noise + b[:, None, None]


def divergence_model(W, log_sigma2):
    """Without the mask, whatever `train_clip` is."""
    log_alpha = np.clip(log_sigma2 - np.log(W ** 2), -CLIP, CLIP)
    return -np.sum(0.63576 * expit(1.87320 + 1.48695 * log_alpha) - 0.5 * np.log1p(np.exp(-log_alpha)) - 0.63576)


def first_divergence_model(W, log_sigma2):
    """That of March 2017, with `train_clip`: a constant where a weight is pruned. Here it is 0 there, 0.67 more."""
    log_alpha = np.clip(log_sigma2 - np.log(W ** 2), -CLIP, CLIP)
    negative = 0.03 + 0.64 * expit(1.5 * (log_alpha + 1.3)) - 0.5 * np.log1p(np.exp(-log_alpha))
    return np.sum(0.67 - np.where(log_alpha >= THRESHOLD, 0.67, negative))


KINDS = {"dense": (SparseVDDenseLayer, dense_model, dict(num_units=4), (5, 6), (6, 4), (5, 4)),
         "conv": (SparseVDConv2DLayer, conv_model, dict(num_filters=4, filter_size=3, pad=1), (3, 2, 4, 4),
                  (4, 2, 3, 3), (3, 4, 4, 4))}
FIRST_VERSION = dict(kl=kl.first_version, pruned_kl=False)


@pytest.mark.parametrize("train_clip, settings, divergence", [
    (False, {}, divergence_model), (True, {}, divergence_model), (True, FIRST_VERSION, first_divergence_model)],
    ids=["no clip", "train_clip", "first version"])
@pytest.mark.parametrize("log_alphas, least, most", [((-9.5, -4.0, -1.0, 2.0, 4.0, 6.0, 9.5), 0.2, 0.7),
                                                     ((4.0, 6.0, -1.0, 9.5, 5.0), 0.7, 0.9)],
                         ids=["half pruned", "most pruned"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_the_original(kind, log_alphas, least, most, train_clip, settings,
                                                         divergence, rng, float64, graph, evaluate):
    make, model, geometry, inputs_shape, weights_shape, outputs_shape = KINDS[kind]
    W = rng.uniform(0.3, 1.5, weights_shape) * rng.choice([-1, 1], weights_shape)
    log_alpha = rng.permutation(np.resize(log_alphas, W.size)).reshape(weights_shape)
    params = [W, log_alpha + np.log(W ** 2), rng.normal(size=weights_shape[1] if kind == "dense" else weights_shape[0])]
    x, noise, weighting = (rng.normal(size=shape) for shape in (inputs_shape, outputs_shape, outputs_shape))
    assert least < np.mean(log_alpha >= THRESHOLD) < most

    def objective(x, W, log_sigma2, b):
        return np.sum(weighting * model(x, W, log_sigma2, b, noise, train_clip)) + KL_WEIGHT * divergence(W, log_sigma2)

    layer = make((None, *inputs_shape[1:]), W=W, log_sigma2=params[1], b=params[2], nonlinearity=None,
                 train_clip=train_clip, noise=GivenNoise(noise), **geometry, **settings)
    input = T.TensorType("float64", (False,) * x.ndim)()
    output, own_kl = layer.get_output_for(input), layer.get_kl()
    loss = T.sum(output * weighting) + KL_WEIGHT * own_kl
    found = evaluate([output, own_kl, *T.grad(loss, [input, layer.W, layer.log_sigma2, layer.b])], {input: x})

    np.testing.assert_allclose(found[0], model(x, *params, noise, train_clip), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found[1], divergence(*params[:2]), rtol=1e-7)
    for position, gradient in enumerate(found[2:]):
        np.testing.assert_allclose(gradient, differences(objective, [x, *params], position), rtol=1e-5, atol=1e-5)


def differences(function, arguments, position, step=1e-6):
    """Finite differences of the function by one of its arguments."""
    result = np.empty_like(arguments[position])
    for index in np.ndindex(result.shape):
        ends = []
        for sign in (1, -1):
            moved = [array.copy() for array in arguments]
            moved[position][index] += sign * step
            ends.append(function(*moved))
        result[index] = (ends[0] - ends[1]) / (2 * step)
    return result


def test_nothing_but_kl_acts_on_a_pruned_filters_weight(float64, rng, graph, evaluate):
    """In dense layers, the noise does."""
    for make, geometry, shape, acts in ((SparseVDConv2DLayer, dict(num_filters=2, filter_size=3), (None, 1, 5, 5),
                                         False),
                                        (SparseVDDenseLayer, dict(num_units=2), (None, 9), True)):
        lasagne.random.set_rng(np.random.RandomState(1))
        layer = make(shape, W=lasagne.init.Constant(0.5), log_sigma2=lasagne.init.Constant(4.0), **geometry)
        input = T.TensorType("float64", (False,) * len(shape))()
        gradients = T.grad(T.sum(T.sqr(layer.get_output_for(input))), [layer.W, layer.log_sigma2])
        for gradient in evaluate(gradients, {input: rng.normal(size=(3, *shape[1:]))}):
            assert (gradient != 0).any() == acts


def test_a_kept_weight_of_0_is_trained(float64, rng, graph, evaluate):
    """Among pruned ones, whose gradients are left out by their being 0."""
    W, log_sigma2 = np.zeros((2, 1, 3, 3)), np.full((2, 1, 3, 3), -20.0)
    log_sigma2[:, :, 1:] = 20.0
    layer = SparseVDConv2DLayer((None, 1, 5, 5), 2, 3, W=W, log_sigma2=log_sigma2, b=lasagne.init.Constant(1.0))
    input = T.dtensor4()
    gradient, = evaluate([T.grad(T.sum(layer.get_output_for(input)), layer.W)], {input: rng.normal(size=(3, 1, 5, 5))})
    assert (gradient[:, :, 0] != 0).all() and not gradient[:, :, 1:].any()
