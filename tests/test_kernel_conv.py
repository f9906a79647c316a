from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.signal import correlate2d

from conftest import QUICK
from nets import kernels
from nets.kernels.conv import ConvGradients, conv, conv_pair
from nets.layers.conv import Convolution

# images, channels, rows, columns, filters, filter size, stride, padding
GEOMETRIES = {
    "LeNet-5, first": (7, 1, 28, 28, 20, 5, 1, 0),
    "LeNet-5, second": (100, 20, 12, 12, 50, 5, 1, 0),
    "3x3, padded": (3, 16, 8, 8, 33, 3, 1, 1),
    "panels of many images": (100, 9, 2, 2, 16, 3, 1, 1),
    "one image": (1, 3, 9, 11, 5, 3, 1, 2),
    "all lengths differ": (7, 4, 10, 9, 13, (3, 2), (2, 3), (1, 2)),
    "pixels left over": (2, 2, 7, 8, 3, 2, 3, 0),
    "one weight": (4, 1, 5, 3, 1, 1, 1, 0),
}


def convolution(geometry):
    _, channels, rows, columns, filters, size, stride, pad = geometry
    return Convolution((None, channels, rows, columns), filters, size, stride, pad)


def operands(geometry, dtype="float64"):
    """x, w, v and the gradients to mean and variance, as numpy arrays."""
    rng, conv = np.random.RandomState(3), convolution(geometry)
    x, w = rng.normal(size=geometry[:4]), rng.normal(size=conv.weights_shape)
    shape = conv.output_shape(x.shape)
    values = x, w, rng.uniform(size=w.shape), rng.normal(size=shape), rng.normal(size=shape)
    return [value.astype(dtype) for value in values]


def few_weights(geometry, dtype="float64"):
    """The same operands, with most weights 0 in both w and v, some in one of them; and where they are not."""
    x, w, v, *gradients = operands(geometry, dtype)
    rng = np.random.RandomState(5)
    share = rng.uniform(size=w.shape)
    w, v = np.where(share < 0.2, w, 0).astype(dtype), np.where((share > 0.05) & (share < 0.25), v, 0).astype(dtype)
    return [x, w, v, *gradients], (w != 0) | (v != 0)


def plain_pair(x, w, v, convolution):
    with kernels.plain():
        return conv_pair(x, w, v, convolution)


def conv_pair_of_pruned(x, w, v, convolution):
    convolution.fixed_zeros = True
    return conv_pair(x, w, v, convolution)


def expressions(pair, geometry, dtype="float64", wanted=("x", "w", "v")):
    """The inputs; mean, variance and the gradients to what is wanted, by `pair`."""
    x, w, v, g_mean, g_variance = inputs = [T.TensorType(dtype, (False,) * 4)() for _ in range(5)]
    mean, variance = pair(x, w, v, convolution(geometry))
    cost = T.sum(mean * g_mean) + T.sum(variance * g_variance)
    return inputs, [mean, variance, *T.grad(cost, [dict(x=x, w=w, v=v)[name] for name in wanted])]


def singly(x, w, v, convolution):
    """The same by two convolutions, each by itself."""
    return conv(x, w, convolution), conv(T.sqr(x), v, convolution)


@lru_cache(maxsize=None)
def compiled(pair, geometry, dtype="float64", wanted=("x", "w", "v")):
    """A function of x, w, v, g_mean, g_variance."""
    return theano.function(*expressions(pair, geometry, dtype, wanted), mode=QUICK)


def assert_close(found, expected, precision):
    """Within `precision` of each array's largest element."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=precision * abs(other).max())
        assert one.dtype == other.dtype


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_values_are_scipys(geometry):
    x, w, v, *gradients = operands(geometry)
    (top, left), (down, right) = convolution(geometry).pad, convolution(geometry).stride
    found = compiled(conv_pair, geometry)(x, w, v, *gradients)[:2]
    padded = np.pad(x[:2], [(0, 0), (0, 0), (top, top), (left, left)])
    for result, images, weights in zip(found, (padded, padded ** 2), (w, v)):
        expected = [[sum(map(correlate2d, image, weight, ["valid"] * len(image)))[::down, ::right]
                     for weight in weights] for image in images]
        np.testing.assert_allclose(result[:2], expected, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_are_adjoint_to_the_maps(geometry):
    """<dw, direction> = <g_mean, f(x; direction)>, and so on, in every geometry."""
    x, w, v, g_mean, g_variance = operands(geometry)
    function, rng = compiled(conv_pair, geometry), np.random.RandomState(8)
    mean, variance, dx, dw, dv = function(x, w, v, g_mean, g_variance)
    direction, other = (rng.normal(size=w.shape) for _ in range(2))
    along_w, along_v = function(x, direction, other, g_mean, g_variance)[:2]
    assert np.sum(dw * direction) == pytest.approx(np.sum(g_mean * along_w), rel=1e-9)
    assert np.sum(dv * other) == pytest.approx(np.sum(g_variance * along_v), rel=1e-9)
    # The variance is quadratic in x.
    direction = rng.normal(size=x.shape)
    ends = [np.sum(g_mean * mean) + np.sum(g_variance * variance) for mean, variance, *_ in (
        function(x + sign * direction, w, v, g_mean, g_variance) for sign in (1, -1))]
    assert np.sum(dx * direction) == pytest.approx((ends[0] - ends[1]) / 2, rel=1e-9)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_few_weights_are_multiplied_one_by_one(geometry):
    values, used = few_weights(geometry)
    expected = compiled(plain_pair, geometry)(*values)
    assert_close(compiled(conv_pair, geometry)(*values), expected, 1e-12)
    *found, dw, dv = compiled(conv_pair_of_pruned, geometry)(*values)
    assert_close(found, expected[:3], 1e-12)
    for gradient, whole in zip((dw, dv), expected[3:]):
        np.testing.assert_allclose(gradient[used], whole[used], rtol=1e-9, atol=1e-12)
        # That the others are 0 says that it went the other way.
        assert not gradient[~used].any() and whole[~used].any() or used.mean() > 1 / 2


def test_few_weights_give_the_same_bits_as_all(set_threads):
    """Sums over the weights are in one order; those over images do not depend on the number of threads."""
    geometry = GEOMETRIES["LeNet-5, second"]
    (x, w, v, *gradients), used = few_weights(geometry, "float32")
    function = compiled(conv_pair_of_pruned, geometry, "float32")
    whole = function(x, w, v, *gradients)
    # Other filters have all their weights, so that they are many.
    more = np.ones((3 * len(w), *w.shape[1:]), "float32")
    both = [np.concatenate([operand, more]) for operand in (w, v)]
    zeros = np.zeros((len(x), len(more), *gradients[0].shape[2:]), "float32")
    mean, variance, dx = function(x, *both, *(np.concatenate([gradient, zeros], 1) for gradient in gradients))[:3]
    for found, expected in zip(whole, (mean[:, :len(w)], variance[:, :len(w)], dx)):
        np.testing.assert_array_equal(found, expected)
    for threads in (1, 2, 3, 16):
        set_threads(threads)
        for once, again in zip(whole, function(x, w, v, *gradients)):
            np.testing.assert_array_equal(once, again)


def test_few_weights_and_no_images():
    (x, w, v, *gradients), _ = few_weights(GEOMETRIES["LeNet-5, second"])
    mean, variance, dx, dw, dv = compiled(conv_pair_of_pruned, GEOMETRIES["LeNet-5, second"])(
        x[:0], w, v, *(gradient[:0] for gradient in gradients))
    assert not mean.size and not variance.size and not dx.size and not dw.any() and not dv.any()


@pytest.mark.parametrize("number", [1, 2])
def test_nan_stays_in_few_weights(number):
    geometry = GEOMETRIES["LeNet-5, second"]
    values, used = few_weights(geometry)
    place = tuple(np.argwhere(used)[0])
    values[number][place] = np.nan
    mean, variance, dx, dw, dv = compiled(conv_pair_of_pruned, geometry)(*values)
    assert np.isnan((mean, variance)[number - 1][:, place[0]]).all() and np.isnan(dx).any()


@pytest.mark.parametrize("convolutions, number", [(conv_pair, 1), (singly, 2)])
@pytest.mark.parametrize("geometry", [GEOMETRIES["LeNet-5, first"], GEOMETRIES["3x3, padded"]])
def test_gradient_to_the_images_is_left_out_where_nobody_uses_it(geometry, convolutions, number):
    values = operands(geometry)
    function = compiled(convolutions, geometry, wanted=("w", "v"))
    operations = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, ConvGradients)]
    assert [operation.with_dx for operation in operations] == [False] * number
    whole = compiled(convolutions, geometry)
    mean, variance, _, dw, dv = whole(*values)
    for one, other in zip(function(*values), (mean, variance, dw, dv)):
        np.testing.assert_array_equal(one, other)
    operations = [node.op for node in whole.maker.fgraph.toposort() if isinstance(node.op, ConvGradients)]
    assert [operation.with_dx for operation in operations] == [True] * number


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_any_number_of_threads_gives_the_same_bits(set_threads, geometry):
    values = operands(geometry)
    function = compiled(conv_pair, geometry)
    whole = function(*values)
    for threads in (1, 2, 3, 16):
        set_threads(threads)
        for once, again in zip(whole, function(*values)):
            np.testing.assert_array_equal(once, again)


def test_operands_that_do_not_fit():
    geometry = GEOMETRIES["one image"]
    run = compiled(conv_pair, geometry)
    x, w, v, *gradients = operands(geometry)
    with pytest.raises(ValueError, match=r"images \(1, 2, 9, 11\) .*do not fit weights \(5, 3, 3, 3\)"):
        run(x[:, :2], w, v, *gradients)
    with pytest.raises(ValueError, match=r"do not fit weights \(5, 3, 3, 3\) and \(4, 3, 3, 3\)"):
        run(x, w, v[:4], *gradients)
    with pytest.raises(ValueError, match=r"\(1, 3, 9, 0\) with padding \(2, 2\) do not fit .*\(5, 3, 3, 6\)"):
        run(x[..., :0], np.tile(w, 2), np.tile(v, 2), *gradients)
    for images, weights in ((x[:, :0], w[:, :0]), (x, w[:, :, :0])):
        with pytest.raises(ValueError, match="do not fit weights"):
            run(images, weights, weights, *gradients)


def test_operands_that_are_not_images():
    x, w = T.dtensor4(), T.dtensor4()
    with pytest.raises(ValueError, match="4-d operands, not .*float64, matrix"):
        conv_pair(T.dmatrix(), w, w, convolution(GEOMETRIES["one image"]))
    with pytest.raises(ValueError, match="float32 and float64, not .*int32"):
        conv_pair(T.itensor4(), T.itensor4(), T.itensor4(), convolution(GEOMETRIES["one image"]))
    mean, _ = conv_pair(T.ftensor4(), w, w, convolution(GEOMETRIES["one image"]))
    assert mean.dtype == x.dtype
