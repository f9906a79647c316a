import contextlib
from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.nonlinearities import identity, rectify, tanh
from theano.configparser import change_flags

from conftest import QUICK
from nets import kernels

EPSILON = 1e-3
SHAPES = {"units": (100, 37), "planes": (6, 5, 17, 23), "pixels": (70, 64, 2, 2), "one image": (1, 3, 5, 4)}


@lru_cache(maxsize=None)
def compiled(ndim, nonlinearity, dtype="float64", plain=False):
    """Of x, gamma, beta, the gradient to the result: that, the statistics, the gradients to x, gamma, beta."""
    x, g = (T.TensorType(dtype, (False,) * ndim)() for _ in range(2))
    gamma, beta = T.vector(dtype=dtype), T.vector(dtype=dtype)
    with change_flags(floatX=dtype), kernels.plain() if plain else contextlib.nullcontext():
        y, mean, inv_std = kernels.batch_norm(x, gamma, beta, EPSILON, nonlinearity)
        gradients = T.grad(T.sum(y * T.sqr(g)), [x, gamma, beta])
        return theano.function([x, gamma, beta, g], [y, mean, inv_std, *gradients], mode=QUICK)


def operands(shape, dtype="float64"):
    rng = np.random.RandomState(5)
    arrays = (3 + 2 * rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1]),
              rng.normal(size=shape))
    return [array.astype(dtype) for array in arrays]


@pytest.mark.parametrize("nonlinearity", [identity, rectify, tanh])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_results_statistics_and_gradients_are_those_of_the_plain_graph(shape, nonlinearity):
    values = operands(shape)
    for one, other in zip(compiled(len(shape), nonlinearity)(*values),
                          compiled(len(shape), nonlinearity, plain=True)(*values), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * abs(other).max())


def test_nan_stays_in_its_channel():
    x, *others = operands(SHAPES["planes"])
    x[1, 2, 3, 4] = np.nan
    y = compiled(4, rectify)(x, *others)[0]
    assert np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, axis=1)).all()


def test_an_average_far_from_zero_costs_no_precision():
    x, *others = operands(SHAPES["planes"])
    values = x + 1000, *others
    found = compiled(4, identity, "float32")(*(value.astype("float32") for value in values))
    for one, other in zip(found, compiled(4, identity)(*values)):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * abs(other).max())


def test_operands_that_do_not_fit():
    x, gamma, beta, g = operands((4, 5, 3, 3))
    with pytest.raises(ValueError, match="4 elements does not fit 5 channels"):
        compiled(4, rectify)(x, gamma[:4], beta, g)
    with pytest.raises(ValueError, match="an array of floats and two vectors"):
        kernels.batch_norm(T.dvector(), T.dvector(), T.dvector(), EPSILON)


def test_statistics_have_no_gradients():
    x, gamma = T.dmatrix(), T.dvector()
    with pytest.raises(NotImplementedError, match="mean and inv_std"):
        T.grad(T.sum(kernels.batch_norm(x, gamma, gamma, EPSILON)[1]), x)
