from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.nonlinearities import rectify

from nets.kernels.reparameterization import Sample, SampleGradients, sample

EPSILON = 1e-8
SHAPES = {"units": (100, 300), "one unit": (3, 1), "planes": (4, 5, 12, 11), "pixels": (70, 64, 2, 2),
          "one pixel": (5, 3, 1, 1), "no images": (0, 3, 4, 4)}


def plain(mean, variance, noise, b, epsilon, rectified):
    z = mean + T.sqrt(variance + epsilon) * noise + b.dimshuffle("x", 0, *"x" * (mean.ndim - 2))
    return rectify(z) if rectified else z


@lru_cache(maxsize=None)
def compiled(ndim, rectified, dtype="float64", make=sample, mode="FAST_RUN"):
    """Of mean, variance, noise, b, the gradient to the result: that, and the gradients to mean, variance, b."""
    tensor = T.TensorType(dtype, (False,) * ndim)
    mean, variance, noise, g = (tensor() for _ in range(4))
    b = T.vector(dtype=dtype)
    # Not the inputs themselves, which operations must not overwrite.
    result = make(2 * mean, 2 * variance, noise, b, EPSILON, rectified)
    gradients = T.grad(T.sum(result * T.sqr(g)), [mean, variance, b])
    return theano.function([mean, variance, noise, b, g], [result, *gradients], mode=mode)


def operands(shape, dtype="float64"):
    rng = np.random.RandomState(8)
    arrays = (rng.normal(size=shape), rng.uniform(0.1, 2, shape), rng.normal(size=shape), rng.normal(size=shape[1]),
              rng.normal(size=shape))
    return [array.astype(dtype) for array in arrays]


@pytest.mark.parametrize("rectified", [False, True], ids=["linear", "rectified"])
@pytest.mark.parametrize("dtype, precision", [("float64", 1e-13), ("float32", 2e-6)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_values_and_gradients_are_those_of_the_plain_graph(shape, rectified, dtype, precision):
    values = operands(shape, dtype)
    found = compiled(len(shape), rectified, dtype)(*values)
    reference = compiled(len(shape), rectified, make=plain, mode="FAST_COMPILE")
    for one, other in zip(found, reference(*(value.astype("float64") for value in values)), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=precision, atol=precision * abs(other).max(initial=1))


@pytest.mark.parametrize("rectified", [False, True])
def test_numpy_and_cpp_agree(rectified):
    values = operands(SHAPES["planes"])
    for one, other in zip(compiled(4, rectified, mode="FAST_COMPILE")(*values), compiled(4, rectified)(*values)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_it_works_in_place_where_nobody_needs_the_operands():
    operations = [node.op for node in compiled(4, True).maker.fgraph.toposort()
                  if isinstance(node.op, (Sample, SampleGradients))]
    assert len(operations) == 2 and all(operation.in_place for operation in operations)


def test_it_leaves_operands_alone_that_others_need():
    mean, variance, noise = (T.dmatrix() for _ in range(3))
    doubled = 2 * mean
    result = sample(doubled, variance, noise, T.zeros(3, "float64"), EPSILON, True)
    values = operands((4, 3))[:3]
    found, kept = theano.function([mean, variance, noise], [result, doubled], mode="FAST_RUN")(*values)
    np.testing.assert_array_equal(kept, 2 * values[0])
    np.testing.assert_allclose(found, np.maximum(2 * values[0] + np.sqrt(values[1]) * values[2], 0), rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(set_threads, threads):
    values = operands((50, 20, 12, 12))
    whole = compiled(4, True)(*values)
    set_threads(threads)
    for one, other in zip(whole, compiled(4, True)(*values)):
        np.testing.assert_array_equal(one, other)


def test_operands_may_lie_anyhow_in_memory():
    values = operands((6, 4, 5, 3))
    turned = [np.ascontiguousarray(value.T).T for value in values]
    for one, other in zip(compiled(4, True)(*values), compiled(4, True)(*turned)):
        np.testing.assert_array_equal(one, other)


def test_nan_is_not_hidden_by_the_rectifier():
    values = operands((6, 4, 5, 3))
    values[0][1, 2, 3, 1] = np.nan
    assert np.isnan(compiled(4, True)(*values)[0]).sum() == 1


@pytest.mark.parametrize("mode", ["FAST_RUN", "FAST_COMPILE"])
def test_operands_that_do_not_fit(mode):
    mean, variance, noise, b, g = operands((4, 5, 3, 3))
    with pytest.raises(ValueError):
        compiled(4, True, mode=mode)(mean, variance[:, :2], noise, b, g)
    with pytest.raises(ValueError):
        compiled(4, True, mode=mode)(mean, variance, noise, b[:4], g)


def test_operands_of_other_types():
    with pytest.raises(ValueError, match="three arrays of floats and a vector"):
        sample(T.dmatrix(), T.dmatrix(), T.fmatrix(), T.dvector(), EPSILON)
    with pytest.raises(ValueError, match="three arrays of floats and a vector"):
        sample(T.dmatrix(), T.dmatrix(), T.dmatrix(), T.dmatrix(), EPSILON)
