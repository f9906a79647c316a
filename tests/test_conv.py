"""Dense and SparseVD convolutions against scipy.signal in float64; their C++ code is tested in test_kernel_conv.py."""

from types import SimpleNamespace

import lasagne
import numpy as np
import pytest
import theano.tensor as T
from scipy.signal import correlate2d

import reference
from conftest import GivenNoise
from nets.layers.conv import Conv2DLayer, Convolution
from nets.layers.sparse_vd import SparseVDConv2DLayer

# filter size, stride, pad, and what the pad is in numbers
GEOMETRIES = [(3, 1, 0, (0, 0)), (3, 1, 1, (1, 1)), ((3, 2), (2, 1), (2, 0), (2, 0)), (3, 2, "same", (1, 1)),
              ((2, 3), 1, "full", (1, 2)), (5, 3, "valid", (0, 0))]
IMAGES, FILTERS = (4, 2, 7, 6), 3


def correlate(images, filters, stride, pad):
    """The sum over channels of scipy's cross-correlations: every stride-th pixel of the "valid" part."""
    padded = np.pad(images, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    return np.array([[sum(correlate2d(plane, kernel, mode="valid") for plane, kernel in zip(image, filter))
                      [::rows, ::columns] for filter in filters] for image in padded])


@pytest.fixture(params=GEOMETRIES, ids=str)
def case(request, rng):
    """A geometry, and values whose log alpha lies on both sides of the threshold and of both clips."""
    size, stride, pad, numbers = request.param
    shape = (FILTERS, IMAGES[1], *((size, size) if isinstance(size, int) else size))
    W = rng.normal(size=shape)
    log_alpha = rng.choice([-9.5, -4.0, -1.0, 2.5, 3.5, 9.0], shape)
    return SimpleNamespace(
        geometry=dict(num_filters=FILTERS, filter_size=size, stride=stride, pad=pad), images=rng.normal(size=IMAGES),
        values=dict(W=W, log_sigma2=log_alpha + np.log(W ** 2 + 1e-8), b=rng.normal(size=FILTERS)),
        linear=lambda images, filters: correlate(images, filters, stride, numbers))


def test_shapes_are_those_of_the_result(case):
    layer = Conv2DLayer(IMAGES, **case.geometry)
    assert layer.output_shape == case.linear(case.images, layer.W.get_value().astype("float64")).shape


@pytest.mark.parametrize("batch", [IMAGES[0], None])
def test_the_dense_layer_is_scipys_correlation(case, float64, evaluate, batch):
    A = T.tensor4()
    layer = Conv2DLayer((batch, *IMAGES[1:]), W=case.values["W"], b=case.values["b"], **case.geometry)
    expected = np.maximum(case.linear(case.images, case.values["W"]) + case.values["b"][:, None, None], 0)
    np.testing.assert_allclose(evaluate(layer.get_output_for(A), {A: case.images}), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("train_clip, pruned_noise", [(True, None), (True, True), (True, False), (False, None)])
def test_noisy_output_is_scipys(case, rng, float64, evaluate, train_clip, pruned_noise):
    A, noise = T.tensor4(), T.tensor4()
    layer = SparseVDConv2DLayer(IMAGES, nonlinearity=None, train_clip=train_clip, pruned_noise=pruned_noise,
                                noise=GivenNoise(noise), **case.geometry, **case.values)
    eps = rng.normal(size=layer.output_shape)
    expected = reference.noisy_output(case.images, **{**case.values, "b": case.values["b"][:, None, None]}, noise=eps,
                                      train_clip=train_clip, pruned_noise=bool(pruned_noise), linear=case.linear)
    found = evaluate(layer.get_output_for(A), {A: case.images, noise: eps})
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_local_reparameterization_has_the_moments_of_sampled_filters(rng, float64, evaluate):
    draws = 20000
    image, W = rng.normal(size=(1, 2, 4, 4)), rng.uniform(0.5, 1, (3, 2, 3, 3)) * rng.choice([-1, 1], (3, 2, 3, 3))
    log_alpha = rng.uniform(-4, 1, W.shape)
    lasagne.random.set_rng(np.random.RandomState(1))
    layer = SparseVDConv2DLayer((None, 2, 4, 4), 3, 3, W=W, log_sigma2=log_alpha + np.log(W ** 2), nonlinearity=None)
    A = T.tensor4()
    found = evaluate(layer.get_output_for(A), {A: np.repeat(image, draws, 0)})

    weights = W + np.exp(0.5 * log_alpha) * abs(W) * rng.normal(size=(draws, *W.shape))
    patches = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), axis=(1, 2))
    sampled = np.einsum("cijkl,dfckl->dfij", patches, weights, optimize=True)
    spread = sampled.std(0).max()
    np.testing.assert_allclose(found.mean(0), sampled.mean(0), atol=5 * spread * np.sqrt(2 / draws))
    np.testing.assert_allclose(found.var(0), sampled.var(0), rtol=5 * np.sqrt(4 / draws))
    # The noise of a filter at different places is independent, unlike that of sampled filters.
    flat = found.reshape(draws, -1)
    assert abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])).max() < 5.5 / np.sqrt(draws)


def test_what_is_not_supported_is_refused():
    with pytest.raises(ValueError, match="untie_biases"):
        SparseVDConv2DLayer(IMAGES, 3, 3, untie_biases=True)
    with pytest.raises(ValueError, match="odd filter sizes"):
        Conv2DLayer(IMAGES, 3, 2, pad="same")
    for refused in (dict(pad=-1), dict(stride=0)):
        with pytest.raises(ValueError, match="padding is 0 or more, a stride 1 or more"):
            Conv2DLayer(IMAGES, 3, 3, **refused)
    with pytest.raises(ValueError, match="pad='half'"):
        Conv2DLayer(IMAGES, 3, 3, pad="half")
    with pytest.raises(ValueError, match="images of 7x6 are too small for filters of 7x7"):
        Conv2DLayer(IMAGES, 3, 7)
    with pytest.raises(ValueError, match="rows, columns"):
        Convolution((None, 20), 3, 3)
