"""KL(q(w) || p(w)) of one weight as a function of log alpha; q(w) = N(theta, alpha theta^2), p(w) is log-uniform.

The prior is improper, so that the divergence is known up to a constant. Here it is chosen so that KL goes to 0 as alpha
goes to infinity: a weight that is pure noise costs nothing.
"""

from dataclasses import dataclass

import numpy as np
import theano.tensor as T

__all__ = ["SigmoidApproximation", "molchanov_2017", "first_version", "kingma_2015", "monte_carlo"]

C1, C2, C3 = 1.16145124, -1.50204118, 0.58629921

#: -E log|z| for z ~ N(0, 1): the limit of 0.5 log(alpha) - E log|1 + sqrt(alpha) z| as alpha goes to infinity, negated.
LIMIT = 0.5 * (np.euler_gamma + np.log(2))


@dataclass(frozen=True)
class SigmoidApproximation:
    """k1 - k1 sigmoid(k2 + k3 log alpha) + 0.5 log(1 + 1 / alpha), a function of log alpha.

    Calling it takes log alpha, a Theano expression of any shape, and returns KL in nats, of the same shape.

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), equation 14, with the constant C = -k1.
    """

    k1: float
    k2: float
    k3: float

    def __call__(self, log_alpha):
        sigmoid = T.nnet.sigmoid(self.k2 + self.k3 * log_alpha)
        return self.k1 - self.k1 * sigmoid + 0.5 * T.nnet.softplus(-log_alpha)


#: The paper's approximation, within 0.01 of the divergence for every alpha.
molchanov_2017 = SigmoidApproximation(0.63576, 1.87320, 1.48695)
#: That of the authors' workshop poster (2016), and of the first version of their code that they published.
first_version = SigmoidApproximation(0.64, 1.5 * 1.3, 1.5)


def kingma_2015(log_alpha):
    """The earlier approximation, a polynomial in alpha that holds for alpha <= 1 only.

    Parameters and result as for :class:`SigmoidApproximation`.

    References
    ----------
    Kingma, Salimans, Welling (2015), Variational dropout and the local reparameterization trick, appendix on the
    divergence from the log-uniform prior; the constant is this module's.
    """
    alpha = T.exp(log_alpha)
    return LIMIT - 0.5 * log_alpha - C1 * alpha - C2 * alpha ** 2 - C3 * alpha ** 3


def monte_carlo(log_alpha, num_samples=1000000, seed=0):
    """A reference by sampling: E log|1 + sqrt(alpha) z| - 0.5 log(alpha), z ~ N(0, 1), up to the constant.

    Parameters
    ----------
    log_alpha : array_like
        log alpha, of any shape
    num_samples : int
        normal samples an element; the standard error is at most 1.12 / sqrt(num_samples)
    seed : int
        of the samples, which all elements share

    Returns
    -------
    numpy array
        KL in nats, float64, of the same shape

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 4.2 and figure 1.
    """
    log_alpha = np.asarray(log_alpha, dtype=np.float64)
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    expectation = [np.mean(np.log(np.abs(1 + np.exp(0.5 * value) * noise))) for value in log_alpha.ravel()]
    return LIMIT - 0.5 * log_alpha + np.reshape(expectation, log_alpha.shape)
