"""What training needs of the weights' posterior N(theta, sigma^2), in one pass over them, and its gradient in another.

Theano's own graph takes a dozen passes, and its rewrites make three products of matrices of the one that the gradient
to the variances needs: each with another factor.
"""

from collections import namedtuple
from dataclasses import astuple

import numpy as np
import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType

from nets import kl
from nets.kernels.base import CppOp, InPlaceOp, in_cpp

__all__ = ["Constants", "posterior", "kept", "Posterior", "PosteriorGradient", "Kept"]

#: threshold, clip, epsilon : float. pruned_noise, pruned_kl : bool, whether weights beyond the threshold have a variance
#: and a share of the KL term. approximation : :class:`nets.kl.SigmoidApproximation`.
Constants = namedtuple("Constants", "threshold clip epsilon pruned_noise pruned_kl approximation",
                       defaults=(True, True, kl.molchanov_2017))


def posterior(theta, log_sigma2, constants):
    """theta of the kept weights, the variances alpha theta^2, and the sum of KL(q || p).

    log alpha is log sigma^2 - log(theta^2 + epsilon), clipped to [-clip, clip], with gradient 0 outside.

    Parameters
    ----------
    theta, log_sigma2 : Theano expressions
        of one shape and dtype, float32 or float64
    constants : :class:`Constants`

    Returns
    -------
    list of Theano expressions
        theta where log alpha < threshold and 0 elsewhere; alpha theta^2; the sum of the approximation of KL, a scalar

    Raises
    ------
    ValueError
        if theta and log_sigma2 are of other types.
    """
    return Posterior(constants)(theta, log_sigma2)


def kept(theta, log_sigma2, constants):
    """theta where log alpha < threshold and 0 elsewhere, for predictions: the first result of :func:`posterior`.

    Parameters and errors as there. It has no gradient.
    """
    return Kept(constants)(theta, log_sigma2)


class _WithConstants:
    """What both operations are made with and have in common."""

    sources = "sums.h", "posterior.cpp"

    def _call(self, function, dtype, arguments, sub):
        own = self.constants
        values = (own.clip, own.epsilon, own.threshold, own.pruned_noise, own.pruned_kl, own.approximation.k1,
                  own.approximation.k2, own.approximation.k3)
        constants = ", ".join(f"npy_{dtype}({float(value)!r})" for value in values)
        arguments = ", ".join([f"posterior::Constants<npy_{dtype}>{{{constants}}}", *arguments])
        return f"if (!posterior::{function}<npy_{dtype}>({arguments})) {sub['fail']}"

    def _log_alpha(self, theta, log_sigma2):
        own = self.constants
        unclipped = log_sigma2 - np.log(theta ** 2 + own.epsilon)
        log_alpha = np.clip(unclipped, -own.clip, own.clip)
        kept = ~(log_alpha >= own.threshold)
        return unclipped, log_alpha, kept, kept | own.pruned_noise, kept | own.pruned_kl


class _Forward(_WithConstants, CppOp):
    """theta, log sigma^2 -> what a subclass lists in `output_types`."""

    __props__ = ("constants", "openmp")

    def __init__(self, constants):
        super().__init__()
        self.constants = constants

    def make_node(self, theta, log_sigma2):
        theta, log_sigma2 = map(T.as_tensor_variable, (theta, log_sigma2))
        if theta.type != log_sigma2.type or theta.dtype not in ("float32", "float64"):
            raise ValueError(f"theta and log sigma^2 are of types {theta.type} and {log_sigma2.type}, not of one float")
        return Apply(self, [theta, log_sigma2], [output_type() for output_type in self.output_types(theta)])


class Posterior(_Forward):
    """theta, log sigma^2 -> kept theta, variances, KL; see :func:`posterior`."""

    def output_types(self, theta):
        return theta.type, theta.type, T.TensorType(theta.dtype, ())

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0], ()]

    def grad(self, inputs, output_gradients):
        missing = [isinstance(gradient.type, DisconnectedType) for gradient in output_gradients]
        zeros = T.zeros_like(inputs[0]), T.zeros_like(inputs[0]), T.zeros((), dtype=inputs[0].dtype)
        gradients = [zero if gone else gradient for gradient, gone, zero in zip(output_gradients, missing, zeros)]
        return PosteriorGradient(self.constants)(*inputs, *gradients)

    def perform(self, node, inputs, outputs):
        theta, log_sigma2 = inputs
        _, log_alpha, is_kept, has_noise, has_kl = self._log_alpha(theta, log_sigma2)
        k1, k2, k3 = astuple(self.constants.approximation)
        divergence = has_kl * (k1 - k1 / (1 + np.exp(-(k2 + k3 * log_alpha))) + 0.5 * np.log1p(np.exp(-log_alpha)))
        outputs[0][0] = np.where(is_kept, theta, 0).astype(theta.dtype)
        outputs[1][0] = (has_noise * np.exp(log_alpha) * theta ** 2).astype(theta.dtype)
        outputs[2][0] = np.asarray(divergence.sum(dtype="float64"), theta.dtype)

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = [*inputs, *(f"&{output}" for output in outputs)]
        return self._call("run_forward", node.inputs[0].dtype, arguments, sub)


class PosteriorGradient(_WithConstants, InPlaceOp):
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

    def perform(self, node, inputs, outputs):
        theta, log_sigma2, to_kept, to_variance, to_kl = inputs
        unclipped, log_alpha, is_kept, has_noise, has_kl = self._log_alpha(theta, log_sigma2)
        k1, k2, k3 = astuple(self.constants.approximation)
        inside = unclipped == log_alpha
        alpha, shifted = np.exp(log_alpha), theta ** 2 + self.constants.epsilon
        sigmoid = 1 / (1 + np.exp(-(k2 + k3 * log_alpha)))
        by_kl = to_kl * inside * has_kl * (-k1 * k3 * sigmoid * (1 - sigmoid) - 0.5 / (1 + alpha))
        to_variance = has_noise * to_variance
        stays = np.where(inside, self.constants.epsilon / shifted, 1)
        d_theta = (np.where(is_kept, to_kept, 0)
                   + 2 * theta * (to_variance * alpha * stays - by_kl / shifted))
        d_log_sigma2 = inside * to_variance * alpha * theta ** 2 + by_kl
        outputs[0][0], outputs[1][0] = d_theta.astype(theta.dtype), d_log_sigma2.astype(theta.dtype)

    def c_code(self, node, name, inputs, outputs, sub):
        arguments = [in_cpp(self.in_place), *inputs, *(f"&{output}" for output in outputs)]
        return self._call("run_backward", node.inputs[0].dtype, arguments, sub)


class Kept(_Forward):
    """theta, log sigma^2 -> kept theta; see :func:`kept`."""

    def output_types(self, theta):
        return theta.type,

    def infer_shape(self, node, shapes):
        return shapes[:1]

    def perform(self, node, inputs, outputs):
        theta, log_sigma2 = inputs
        outputs[0][0] = np.where(self._log_alpha(theta, log_sigma2)[2], theta, 0).astype(theta.dtype)

    def c_code(self, node, name, inputs, outputs, sub):
        return self._call("run_kept", node.inputs[0].dtype, [*inputs, f"&{outputs[0]}"], sub)
