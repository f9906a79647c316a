import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.configparser import change_flags

from conftest import QUICK
from nets import kernels
from nets.kernels import PosteriorConstants

CLIP, EPSILON = 8.0, 1e-8


def results(dtype):
    """A function of theta, log sigma^2 and the gradients to the results: those, and the gradients to both."""
    theta, log_sigma2, to_kept, to_variance = (T.matrix(dtype=dtype) for _ in range(4))
    to_kl = T.scalar(dtype=dtype)
    kept, variance, divergence = kernels.posterior(theta, log_sigma2, PosteriorConstants(3.0, CLIP, EPSILON))
    cost = T.sum(kept * to_kept) + T.sum(variance * to_variance) + to_kl * divergence
    return theano.function([theta, log_sigma2, to_kept, to_variance, to_kl],
                           [kept, variance, divergence, *T.grad(cost, [theta, log_sigma2])], mode=QUICK)


@pytest.fixture(scope="module")
def compiled():
    return {dtype: results(dtype) for dtype in ("float32", "float64")}


@pytest.fixture(scope="module")
def expected():
    with change_flags(floatX="float64"), kernels.plain():   # where it is float32, Theano rounds the constants
        return results("float64")


def operands(shape, seed=2):
    """log alpha from beyond one clip to beyond the other; some theta are 0 or tiny."""
    rng = np.random.RandomState(seed)
    theta = rng.choice([-1, 1], shape) * np.exp(rng.uniform(-12, 1, shape))
    theta[rng.uniform(size=shape) < 0.05] = 0
    log_sigma2 = np.log(theta ** 2 + EPSILON) + rng.uniform(-10, 10, shape)
    return [np.float32(array) for array in (theta, log_sigma2, rng.normal(size=shape), rng.normal(size=shape), 0.7)]


@pytest.mark.parametrize("part", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 100), (2048, 9), (0, 4)])
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-9), ("float32", 2e-4)])
def test_values_and_gradients_are_those_of_the_plain_graph(compiled, expected, shape, dtype, rtol, part):
    values = operands(shape)
    # One gradient at a time: where they cancel, the relative error says nothing. That to theta is a difference in the
    # plain graph, of terms about 2 theta alpha.
    values[2:] = [value if number == part else 0 * value for number, value in enumerate(values[2:], start=2)]
    theta, log_sigma2, _, to_variance, _ = (value.astype("float64") for value in values)
    terms = 2 * abs(theta * to_variance) * np.exp(np.clip(log_sigma2 - np.log(theta ** 2 + EPSILON), -CLIP, CLIP))
    scales = 1e-6, 1e-6, 1e-6, terms, 1e-6
    for found, reference, scale in zip(compiled[dtype](*(value.astype(dtype) for value in values)),
                                       expected(*(value.astype("float64") for value in values)), scales):
        assert found.dtype == dtype and found.shape == reference.shape
        bad = abs(found - reference) > rtol * abs(reference) + (1e-15 if dtype == "float64" else 1e-7) * (1 + scale)
        # In float32, rounding decides next to the threshold and the clips.
        assert bad.sum() <= (found.size // 5000 if dtype == "float32" else 0)


def test_nan_is_not_hidden(compiled):
    theta, log_sigma2, *gradients = operands((3, 40))
    theta[1, 2] = np.nan
    kept, variance, divergence, d_theta, d_log_sigma2 = compiled["float32"](theta, log_sigma2, *gradients)
    assert np.isnan(divergence) and np.isnan(variance[1, 2]) and np.isnan(d_theta[1, 2])
    assert np.isfinite(np.delete(variance.ravel(), 42)).all() and np.isfinite(np.delete(d_theta.ravel(), 42)).all()


def test_an_infinite_threshold_prunes_nothing(evaluate):
    theta, log_sigma2, *_ = operands((3, 40))
    kept, *_ = evaluate(list(kernels.posterior(theano.shared(theta), theano.shared(log_sigma2),
                                               PosteriorConstants(np.inf, CLIP, EPSILON))))
    np.testing.assert_allclose(kept, theta, atol=1e-37)


def test_operands_of_other_shapes_or_types_are_refused(compiled):
    values = operands((4, 5))
    with pytest.raises(ValueError, match="not of one shape"):
        compiled["float32"](values[0], values[1][:, :3], *values[2:])
    with pytest.raises(ValueError, match="not of one float"):
        kernels.posterior(T.fmatrix(), T.dmatrix(), PosteriorConstants(3.0, CLIP, EPSILON))
