from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.nonlinearities import rectify
from theano.configparser import change_flags

from nets.kernels.batch_norm import BatchNormGradients, batch_norm

EPSILON = 1e-3
SHAPES = {"units": (100, 37), "planes": (6, 5, 17, 23), "pixels": (70, 64, 2, 2), "one image": (1, 3, 5, 4)}


def plain(x, gamma, beta, epsilon, rectified):
    axes = [0, *range(2, x.ndim)]
    mean, inv_std = x.mean(axes), 1 / T.sqrt(x.var(axes) + epsilon)
    center, scale, shift = (vector.dimshuffle("x", 0, *"x" * (x.ndim - 2)) for vector in (mean, gamma * inv_std, beta))
    y = (x - center) * scale + shift
    return rectify(y) if rectified else y, mean, inv_std


@lru_cache(maxsize=None)
def compiled(ndim, rectified, dtype="float64", make=batch_norm, mode="FAST_RUN"):
    """Of x, gamma, beta, the gradient to the result: that, the statistics, the gradients to x, gamma, beta."""
    x, g = (T.TensorType(dtype, (False,) * ndim)() for _ in range(2))
    gamma, beta = T.vector(dtype=dtype), T.vector(dtype=dtype)
    with change_flags(floatX=dtype):    # where it is float32, Theano rounds the plain graph's constants
        y, mean, inv_std = make(x, gamma, beta, EPSILON, rectified)
        gradients = T.grad(T.sum(y * T.sqr(g)), [x, gamma, beta])
        return theano.function([x, gamma, beta, g], [y, mean, inv_std, *gradients], mode=mode)


def operands(shape, dtype="float64"):
    rng = np.random.RandomState(5)
    arrays = (3 + 2 * rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1]),
              rng.normal(size=shape))
    return [array.astype(dtype) for array in arrays]


@pytest.mark.parametrize("rectified", [False, True], ids=["linear", "rectified"])
@pytest.mark.parametrize("dtype, precision", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_values_and_gradients_are_those_of_the_plain_graph(shape, rectified, dtype, precision):
    values = operands(shape, dtype)
    found = compiled(len(shape), rectified, dtype)(*values)
    reference = compiled(len(shape), rectified, make=plain, mode="FAST_COMPILE")
    for one, other in zip(found, reference(*(value.astype("float64") for value in values)), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=precision, atol=precision * abs(other).max())


@pytest.mark.parametrize("rectified", [False, True])
def test_numpy_and_cpp_agree(rectified):
    values = operands(SHAPES["planes"])
    for one, other in zip(compiled(4, rectified, mode="FAST_COMPILE")(*values), compiled(4, rectified)(*values)):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(set_threads, threads):
    values = operands((50, 20, 12, 12))
    whole = compiled(4, True)(*values)
    set_threads(threads)
    for one, other in zip(whole, compiled(4, True)(*values)):
        np.testing.assert_array_equal(one, other)


def test_operands_may_lie_anyhow_in_memory():
    values = operands(SHAPES["planes"])
    turned = [np.ascontiguousarray(value.T).T for value in values]
    for one, other in zip(compiled(4, True)(*values), compiled(4, True)(*turned)):
        np.testing.assert_array_equal(one, other)


def test_nan_stays_in_its_channel():
    x, *others = operands(SHAPES["planes"])
    x[1, 2, 3, 4] = np.nan
    y = compiled(4, True)(x, *others)[0]
    assert np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, axis=1)).all()


def test_an_average_far_from_zero_costs_no_precision():
    x, *others = operands(SHAPES["planes"])
    values = x + 1000, *others
    found = compiled(4, False, "float32")(*(value.astype("float32") for value in values))
    for one, other in zip(found[2:], compiled(4, False)(*values)[2:]):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * abs(other).max())


def test_the_gradient_is_written_in_place():
    operations = [node.op for node in compiled(4, True).maker.fgraph.toposort()
                  if isinstance(node.op, BatchNormGradients)]
    assert [operation.in_place for operation in operations] == [True]


def test_operands_that_do_not_fit():
    x, gamma, beta, g = operands((4, 5, 3, 3))
    with pytest.raises(ValueError, match="4 elements does not fit 5 channels"):
        compiled(4, True)(x, gamma[:4], beta, g)
    with pytest.raises(ValueError, match="an array of floats and two vectors"):
        batch_norm(T.dvector(), T.dvector(), T.dvector(), EPSILON)


def test_statistics_have_no_gradients():
    x, gamma = T.dmatrix(), T.dvector()
    with pytest.raises(NotImplementedError, match="mean and inv_std"):
        T.grad(T.sum(batch_norm(x, gamma, gamma, EPSILON)[1]), x)
