import numpy as np
import pytest
from scipy import integrate, stats

from nets import kl
from theano import tensor as T


def exact(log_alpha):
    """The divergence by numerical integration of E log|1 + sqrt(alpha) z|, split at its singularity."""
    scale = np.exp(0.5 * log_alpha)

    def integrand(z):
        return stats.norm.pdf(z) * np.log(abs(1 + scale * z))

    singular = -1 / scale
    points = sorted({-12.0, 12.0, *([singular] if abs(singular) < 12 else [])})
    expectation = sum(integrate.quad(integrand, low, high, limit=400)[0] for low, high in zip(points, points[1:]))
    return 0.5 * (np.euler_gamma + np.log(2)) - 0.5 * log_alpha + expectation


LOG_ALPHA = np.linspace(-8, 8, 33)


def test_monte_carlo_reference_agrees_with_numerical_integration():
    expected = [exact(value) for value in LOG_ALPHA]
    np.testing.assert_allclose(kl.monte_carlo(LOG_ALPHA, 400000), expected, atol=5 * 1.12 / np.sqrt(400000))


def test_papers_approximation_is_within_a_hundredth_of_monte_carlo(float64, evaluate):
    log_alpha = T.vector()
    approximation = evaluate(kl.molchanov_2017(log_alpha), {log_alpha: LOG_ALPHA})
    np.testing.assert_allclose(approximation, kl.monte_carlo(LOG_ALPHA), atol=0.01)


def test_papers_approximation_is_equation_14(float64, evaluate):
    log_alpha = T.vector()
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    negative = k1 / (1 + np.exp(-(k2 + k3 * LOG_ALPHA))) - 0.5 * np.log1p(np.exp(-LOG_ALPHA)) - k1
    np.testing.assert_allclose(evaluate(kl.molchanov_2017(log_alpha), {log_alpha: LOG_ALPHA}), -negative, rtol=1e-12)


def test_kingmas_approximation_holds_for_alpha_up_to_1_only(float64, evaluate):
    log_alpha = T.vector()
    small, large = np.linspace(-8, 0, 9), np.array([1.0, 2.0])
    approximation = evaluate(kl.kingma_2015(log_alpha), {log_alpha: np.concatenate([small, large])})
    np.testing.assert_allclose(approximation[:9], [exact(value) for value in small], atol=0.05)
    assert np.all(abs(approximation[9:] - [exact(value) for value in large]) > 1)


@pytest.mark.parametrize("value", [50.0, 1000.0])
def test_kl_of_pure_noise_is_0(value, float64, evaluate):
    log_alpha = T.scalar()
    assert evaluate(kl.molchanov_2017(log_alpha), {log_alpha: value}) == pytest.approx(0, abs=1e-12)
