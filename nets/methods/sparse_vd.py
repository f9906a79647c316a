"""Sparse variational dropout: layers whose weights have a posterior, and the KL term of the objective."""

import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant, GlorotUniform, Normal

from nets import kl
from nets.layers.sparse_vd import PARAMETERIZATIONS, SparseVDConv2DLayer, SparseVDDenseLayer
from nets.methods.base import Method, Term
from nets.schedules import Constant as ConstantSchedule
from nets.schedules import LinearWarmUp
from nets.sparsity import posteriors
from utils.flags import Flag, number, size

__all__ = ["SparseVD", "KL_TERMS"]

#: What the KL term is made of: the paper's formula; that of the first version of the authors' code, where pruned
#: weights had no share of it.
KL_TERMS = {"paper": {}, "first-version": dict(kl=kl.first_version, pruned_kl=False)}


class SparseVD(Method):
    """Layers of :mod:`nets.layers.sparse_vd`, and KL(q || p) in the objective.

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), sections 4 and 5.
    """

    name = "sparse-vd"
    prunes = True
    flags = (
        Flag("threshold", 3.0, "a weight is pruned where log alpha >= X", number),
        Flag("final_threshold", None, "after the last epoch, prune weights of log alpha >= X, too; threshold_sweep.py "
                                      "shows what is gained and lost", number),
        Flag("log_sigma2", -10.0, "where log sigma^2 of every weight starts", number),
        Flag("log_sigma2_from_weights", None),
        Flag("kl_warm_up", True, "whether the weight of the KL term grows from 0 to 1 over the first epochs; without, "
                                 "it is 1 from the start", bool),
        Flag("warm_up", LinearWarmUp(5, 20)),
        Flag("kl_weight", 1.0, "a factor on the KL term, after its warm-up too", size),
        Flag("kl", "paper", "the KL term: the paper's, or that of the first version of the authors' code, where a "
                            "pruned weight has no share of it", choices=tuple(KL_TERMS)),
        # The title names it.
        Flag("parameterization", "additive", "what is trained of the weights' noise: log sigma^2 as in the paper, or "
                                             "log alpha", choices=PARAMETERIZATIONS, in_tables=False),
        Flag("train_clip", True),
    )

    @property
    def title(self):
        return "SparseVD" + (", multiplicative noise" if self.parameterization == "multiplicative" else "")

    def _posterior(self):
        return dict(threshold=self.threshold, train_clip=self.train_clip, log_sigma2=Constant(self.log_sigma2),
                    parameterization=self.parameterization, b=Constant(0.0), **KL_TERMS[self.kl])

    def dense_layer(self, incoming, num_units, nonlinearity, name):
        return SparseVDDenseLayer(incoming, num_units, W=Normal(0.01), nonlinearity=nonlinearity, name=name,
                                  **self._posterior())

    def conv_layer(self, incoming, num_filters, filter_size, nonlinearity, name, pad=0):
        return SparseVDConv2DLayer(incoming, num_filters, filter_size, pad=pad, W=GlorotUniform(),
                                   nonlinearity=nonlinearity, name=name, **self._posterior())

    def start(self, net, missing, given):
        if not missing and "log_sigma2" not in given:
            return ", noise from there too"
        from_weights = None if "log_sigma2" in given else self.log_sigma2_from_weights
        value = self.log_sigma2 if from_weights is None else from_weights
        for posterior in posteriors(net):
            posterior.set_log_sigma2(value)
        return f", log sigma^2 = {value:g}"

    def terms(self, net):
        warm_up = self.warm_up if self.kl_warm_up else ConstantSchedule(1.0)
        divergence = T.as_tensor_variable(sum(posterior.kl for posterior in posteriors(net)))
        return [Term("kl", "KL", divergence, lambda epoch: self.kl_weight * warm_up(epoch))]

    def finish(self, net):
        if self.final_threshold is None:
            return
        found = posteriors(net)
        for posterior, log_alpha in zip(found, theano.function([], [own.log_alpha for own in found])()):
            theta = posterior.theta.get_value()
            posterior.theta.set_value(np.where(log_alpha < self.final_threshold, theta, 0).astype(theta.dtype))
