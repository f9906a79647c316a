"""What training needs of the weights' posterior N(theta, sigma^2), in one pass over them, and its gradient in another.

Theano's own graph takes a dozen passes, and its rewrites make three products of matrices of the one that the gradient
to the variances needs: each with another factor.
"""

from collections import namedtuple

import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType

from nets import kl
from nets.kernels.base import CppOp, InPlaceOp, in_cpp, kernel

__all__ = ["Posterior", "PosteriorConstants", "posterior", "posterior_of_log_alpha", "PosteriorOp",
           "PosteriorGradients"]

#: kept : theta of the kept weights, 0 for the others, and for them alone. variances : alpha theta^2. kl : the sum of
#: KL(q || p).
Posterior = namedtuple("Posterior", "kept variances kl")

#: threshold, clip, epsilon : float. pruned_noise, pruned_kl : bool, whether weights beyond the threshold have a
#: variance and a share of the KL term. approximation : :class:`nets.kl.SigmoidApproximation`.
PosteriorConstants = namedtuple("PosteriorConstants", "threshold clip epsilon pruned_noise pruned_kl approximation",
                                defaults=(True, True, kl.molchanov_2017))

#: Added to kept weights, so that none of them is 0: just above float32's smallest normal number, it changes no other.
LEAST = 1.2e-38


def posterior_of_log_alpha(theta, log_alpha, constants):
    """The same as :func:`posterior`, of theta and of log alpha within the clips; Theano's graph everywhere."""
    kept = 1 - T.cast(T.ge(log_alpha, constants.threshold), theta.dtype)    # where log alpha is NaN, so is the KL term
    variances, divergence = T.exp(log_alpha) * T.sqr(theta), constants.approximation(log_alpha)
    return Posterior((theta + T.constant(LEAST, dtype=theta.dtype)) * kept,
                     variances if constants.pruned_noise else kept * variances,
                     T.sum(divergence if constants.pruned_kl else kept * divergence))


def _posterior(theta, log_sigma2, constants):
    log_alpha = T.clip(log_sigma2 - T.log(T.sqr(theta) + constants.epsilon), -constants.clip, constants.clip)
    return posterior_of_log_alpha(theta, log_alpha, constants)


@kernel(plain=_posterior)
def posterior(theta, log_sigma2, constants):
    """theta of the kept weights, the variances alpha theta^2, and the sum of KL(q || p).

    log alpha is log sigma^2 - log(theta^2 + epsilon), clipped to [-clip, clip], with gradient 0 outside. A weight is
    kept unless log alpha >= threshold.

    Parameters
    ----------
    theta, log_sigma2 : Theano expressions
        of one shape and dtype, float32 or float64
    constants : :class:`PosteriorConstants`

    Returns
    -------
    :class:`Posterior`

    Raises
    ------
    ValueError
        if theta and log_sigma2 are of other types.
    """
    return Posterior(*PosteriorOp(constants)(theta, log_sigma2))


def numbers(constants):
    """{name: float}, in the order of posterior.cpp's Constants; what is infinite is the largest float32."""
    own, approximation = constants, constants.approximation
    found = {"clip": own.clip, "epsilon": own.epsilon, "threshold": own.threshold, "noise": own.pruned_noise,
             "share": own.pruned_kl, "least": LEAST, "k1": approximation.k1, "k2": approximation.k2,
             "k3": approximation.k3}
    return {name: min(max(float(value), -3e38), 3e38) for name, value in found.items()}


class _WithConstants:
    """What both operations are made with and have in common."""

    sources = "sums.h", "posterior.cpp"

    def _call(self, function, dtype, arguments, sub):
        constants = ", ".join(f"npy_{dtype}({value!r})" for value in numbers(self.constants).values())
        arguments = ", ".join([f"posterior::Constants<npy_{dtype}>{{{constants}}}", *arguments])
        return f"if (!posterior::{function}<npy_{dtype}>({arguments})) {sub['fail']}"


class PosteriorOp(_WithConstants, CppOp):
    """theta, log sigma^2 -> kept theta, variances, KL; see :func:`posterior`."""

    __props__ = ("constants", "openmp")

    def __init__(self, constants):
        super().__init__()
        self.constants = constants

    def make_node(self, theta, log_sigma2):
        theta, log_sigma2 = map(T.as_tensor_variable, (theta, log_sigma2))
        if theta.type != log_sigma2.type or theta.dtype not in ("float32", "float64"):
            raise ValueError(f"theta and log sigma^2 are of types {theta.type} and {log_sigma2.type}, not of one float")
        return Apply(self, [theta, log_sigma2], [theta.type(), theta.type(), T.TensorType(theta.dtype, ())()])

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0], ()]

    def grad(self, inputs, output_gradients):
        missing = [isinstance(gradient.type, DisconnectedType) for gradient in output_gradients]
        zeros = T.zeros_like(inputs[0]), T.zeros_like(inputs[0]), T.zeros((), dtype=inputs[0].dtype)
        gradients = [zero if gone else gradient for gradient, gone, zero in zip(output_gradients, missing, zeros)]
        return PosteriorGradients(self.constants)(*inputs, *gradients)

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = [*inputs, *(f"&{output}" for output in outputs)]
        return self._call("run_forward", node.inputs[0].dtype, arguments, sub)


class PosteriorGradients(_WithConstants, InPlaceOp):
    """theta, log sigma^2, gradients to kept theta, variances and KL -> gradients to theta and to log sigma^2."""

    __props__ = ("constants", "in_place", "openmp")

    def __init__(self, constants, in_place=False):
        super().__init__(in_place)
        self.constants = constants

    def make_node(self, theta, log_sigma2, *gradients):
        gradients = [T.cast(gradient, theta.dtype) for gradient in gradients]
        return Apply(self, [theta, log_sigma2, *gradients], [theta.type(), theta.type()])

    def overwritten(self):
        return {0: 2, 1: 3}

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0]]

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = [in_cpp(self.in_place), *inputs, *(f"&{output}" for output in outputs)]
        return self._call("run_backward", node.inputs[0].dtype, arguments, sub)
