import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.tensor.signal.pool import pool_2d

from conftest import QUICK
from nets.kernels import max_pool_2x2

SHAPES = [(100, 2, 8, 8), (1, 1, 24, 24), (7, 3, 5, 9), (7, 3, 9, 6), (2, 3, 1, 4), (2, 2, 2, 2100), (2, 1, 5, 3001),
          (60, 40, 20, 12), (0, 3, 4, 4)]


def gradient_of(pool, x, g):
    return T.grad(T.sum(pool(x) * g), x)


def theanos(x):
    return pool_2d(x, (2, 2), ignore_border=True)


@pytest.fixture(scope="module")
def compiled():
    """compiled(pool, dtype) -> a function of x and the gradient to the maxima; the same is compiled once."""
    functions = {}

    def compiled(pool, dtype):
        if (pool, dtype) not in functions:
            x, g = (T.TensorType(dtype, (False,) * 4)() for _ in range(2))
            functions[pool, dtype] = theano.function([x, g], [pool(x), gradient_of(pool, x, g)], mode=QUICK)
        return functions[pool, dtype]
    return compiled


def operands(shape, dtype):
    rng = np.random.RandomState(5)
    # No two elements are equal.
    x = (rng.permutation(int(np.prod(shape))).reshape(shape) - np.prod(shape) // 2) / 7
    return x.astype(dtype), rng.normal(size=(*shape[:2], shape[2] // 2, shape[3] // 2)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_maxima_and_gradient_are_theanos(compiled, shape, dtype):
    values = operands(shape, dtype)
    for found, expected in zip(compiled(max_pool_2x2, dtype)(*values), compiled(theanos, dtype)(*values)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == dtype


def test_the_first_of_equal_elements_has_the_gradient(compiled):
    function = compiled(max_pool_2x2, "float64")
    for ties in np.ndindex(2, 2, 2, 2):
        window = np.array(ties, "float64").reshape(1, 1, 2, 2)
        _, gradient = function(window, np.full((1, 1, 1, 1), 3.0))
        expected = np.zeros(4)
        expected[np.argmax(window)] = 3.0
        np.testing.assert_array_equal(gradient.ravel(), expected)


def test_after_a_relu_its_zeros_have_theanos_gradients(rng):
    x, g = T.dtensor4(), T.dtensor4()
    before, gradient = rng.normal(-0.5, 1, (5, 3, 8, 8)), rng.normal(size=(5, 3, 4, 4))
    outputs = [T.grad(T.sum(pool(T.nnet.relu(x)) * g), x) for pool in (max_pool_2x2, theanos)]
    np.testing.assert_array_equal(*theano.function([x, g], outputs, mode=QUICK)(before, gradient))


def test_errors():
    with pytest.raises(ValueError, match="4-d float32 or float64 expression, not .*matrix"):
        max_pool_2x2(T.dmatrix())
    with pytest.raises(ValueError, match="not .*int32"):
        max_pool_2x2(T.itensor4())
