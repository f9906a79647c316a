import os
from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T

from conftest import QUICK
from nets.kernels.dense import DenseGradients, dense, dense_pair

# images, inputs, units
SHAPES = {"LeNet-300-100": (100, 784, 300), "few units": (50, 100, 10), "one of each": (1, 1, 1),
          "whole panels": (24, 64, 64), "panels with a rest": (37, 33, 49), "no images": (0, 5, 3)}


def single(x, w, v):
    return dense(x, w), dense(T.sqr(x), v)


def operands(shape, dtype="float64"):
    """x, w, v and the gradients to mean and variance."""
    (images, inputs, units), rng = shape, np.random.RandomState(4)
    sizes = (images, inputs), (inputs, units), (inputs, units), (images, units), (images, units)
    return [rng.normal(size=size).astype(dtype) for size in sizes]


def expressions(products, dtype, wanted):
    x, w, v, g_mean, g_variance = inputs = [T.matrix(dtype=dtype) for _ in range(5)]
    mean, variance = products(x, w, v)
    cost = T.sum(mean * g_mean) + T.sum(variance * g_variance)
    return inputs, [mean, variance, *T.grad(cost, [dict(x=x, w=w, v=v)[name] for name in wanted])]


@lru_cache(maxsize=None)
def compiled(products=dense_pair, dtype="float64", wanted="xwv"):
    """A function of x, w, v, g_mean, g_variance."""
    return theano.function(*expressions(products, dtype, wanted), mode=QUICK)


def expected(x, w, v, g_mean, g_variance):
    """In numpy's float64: mean, variance and the gradients to x, w, v."""
    x, w, v, g_mean, g_variance = (array.astype("float64") for array in (x, w, v, g_mean, g_variance))
    return (np.einsum("ni,iu->nu", x, w), np.einsum("ni,iu->nu", x ** 2, v),
            np.einsum("nu,iu->ni", g_mean, w) + 2 * x * np.einsum("nu,iu->ni", g_variance, v),
            np.einsum("ni,nu->iu", x, g_mean), np.einsum("ni,nu->iu", x ** 2, g_variance))


def assert_close(found, references, precision):
    for one, other in zip(found, references, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=precision * abs(other).max(initial=1))


@pytest.mark.parametrize("dtype, precision", [("float64", 1e-13), ("float32", 1e-5)])
@pytest.mark.parametrize("products", [dense_pair, single])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_values_and_gradients_are_numpys(shape, products, dtype, precision):
    values = operands(shape, dtype)
    found = compiled(products, dtype)(*values)
    assert_close(found, expected(*values), precision)
    assert all(array.dtype == dtype for array in found)


@pytest.mark.parametrize("products, number", [(dense_pair, 1), (single, 2)])
def test_gradient_to_the_inputs_is_left_out_where_nobody_uses_it(products, number):
    values = operands(SHAPES["panels with a rest"])
    function = compiled(products, wanted="wv")
    operations = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, DenseGradients)]
    assert [operation.with_dx for operation in operations] == [False] * number
    mean, variance, _, dw, dv = compiled(products)(*values)
    for one, other in zip(function(*values), (mean, variance, dw, dv)):
        np.testing.assert_array_equal(one, other)


def test_nan_stays_in_its_row():
    x, *others = operands(SHAPES["whole panels"])
    x[3, 5] = np.nan
    mean, variance, dx, dw, dv = compiled()(x, *others)
    for array in (mean, variance):
        assert np.isnan(array[3]).all() and np.isfinite(np.delete(array, 3, axis=0)).all()
    for array in (dw, dv):
        assert np.isnan(array[5]).all() and np.isfinite(np.delete(array, 5, axis=0)).all()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_batches_that_grow_leave_no_memory_behind():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    x, w = T.fmatrices("xw")
    product, weights = theano.function([x, w], dense(x, w), mode=QUICK), np.ones((4000, 1), "float32")
    before = resident()
    for images in range(1, 400):
        product(np.ones((images, 4000), "float32"), weights)
    assert resident() - before < 200 * 2 ** 20      # all sizes together are 1.3 GB, the largest 6 MB


def test_operands_that_do_not_fit():
    x, w, v, *gradients = operands((4, 5, 3))
    with pytest.raises(ValueError, match=r"inputs \(4, 2\) do not fit weights \(5, 3\)"):
        compiled()(x[:, :2], w, v, *gradients)
    with pytest.raises(ValueError, match=r"do not fit weights \(5, 3\) and \(4, 3\)"):
        compiled()(x, w, v[:4], *gradients)


def test_operands_that_are_not_matrices():
    with pytest.raises(ValueError, match="2-d operands, not .*vector"):
        dense(T.dmatrix(), T.dvector())
    with pytest.raises(ValueError, match="float32 and float64, not .*int32"):
        dense(T.imatrix(), T.imatrix())
