"""Sparse variational dropout: layers whose weights have a posterior, and the KL term of the objective."""

import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import get_all_params

from nets import kl
from nets.layers.embedding import SparseVDEmbeddingLayer
from nets.layers.lstm import SparseVDLSTMLayer
from nets.layers.output import SparseVDOutputLayer
from nets.layers.sparse_vd import PARAMETERIZATIONS, SparseVDConv2DLayer, SparseVDDenseLayer
from nets.methods.base import Group, Method, Term
from nets.schedules import Constant as ConstantSchedule
from nets.schedules import LinearWarmUp
from nets.sparsity import cut_at, posteriors, weight_layers
from utils.errors import UserError
from utils.flags import Flag, number, size

__all__ = ["SparseVD", "KL_TERMS", "GROUPS"]

#: What the KL term is made of: the paper's formula; that of the first version of the authors' code, where pruned
#: weights had no share of it.
KL_TERMS = {"paper": {}, "first-version": dict(kl=kl.first_version, pruned_kl=False)}
#: Of networks of texts, which groups of weights have a variable of their own: the title's ending; whether each word
#: has one; which groups of an LSTM do, behind an embedding and of one-hot tokens. As in the authors' code.
GROUPS = {"none": ("", False, "", ""), "vocabulary": ("-Voc", True, "", "x"), "neurons": (", W+N", True, "xh", "h"),
          "gates": (", W+G+N", True, "xhg", "hg")}


class SparseVD(Method):
    """Layers of :mod:`nets.layers.sparse_vd`, and KL(q || p) in the objective.

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), sections 4 and 5. Chirkova, Lobacheva, Vetrov (2018), Bayesian compression for
    natural language processing: networks of texts, and groups.
    """

    name = "sparse-vd"
    prunes = True
    dense_class = SparseVDDenseLayer
    conv_class = SparseVDConv2DLayer
    flags = (
        Flag("threshold", 3.0, "a weight is pruned where log alpha >= X", number),
        Flag("final_threshold", None, "after the last epoch, prune weights of log alpha >= X, too; threshold_sweep.py "
                                      "shows what is gained and lost", number),
        Flag("initial_threshold", None, "before the first step, prune weights of log alpha >= X of the SparseVD run "
                                        "that it starts from, and train the others on; on the LeNets", number),
        Flag("log_sigma2", -10.0, "where log sigma^2 of every weight starts", number, at_start=True),
        Flag("log_sigma2_from_weights", None),
        Flag("kl_warm_up", True, "whether the weight of the KL term grows from 0 to 1 over the first epochs; without, "
                                 "it is 1 from the start", bool),
        Flag("warm_up", LinearWarmUp(5, 20)),
        Flag("kl_weight", 1.0, "a factor on the KL term, after its warm-up too", size),
        Flag("kl", "paper", "the KL term: the paper's, or that of the first version of the authors' code, where a "
                            "pruned weight has no share of it (in networks of images)", choices=tuple(KL_TERMS)),
        # The title names it.
        Flag("parameterization", "additive", "what is trained of the weights' noise: log sigma^2 as in the paper, or "
                                             "log alpha", choices=PARAMETERIZATIONS, in_tables=False),
        Flag("train_clip", True),
        # The title names it.
        Flag("structure", "none", "of networks of texts: which groups of weights have a variable of their own that is "
                               "pruned as weights are; neurons includes the vocabulary of classifiers, gates neurons",
             choices=tuple(GROUPS), in_tables=False),
        Flag("noise_rate", 1.0, "a factor on the learning rate for log sigma^2; with Adam, 2 is as if log sigma were "
                                "trained", size),
    )

    def __init__(self, **values):
        super().__init__(**values)
        self.needs_start = self.initial_threshold is not None
        if self.needs_start and not (self.train_clip and self.parameterization == "additive"):
            raise UserError("--initial-threshold is of networks whose training leaves pruned weights out, such as the "
                            "LeNets with additive noise: in this one they would come back; leave it out")

    @property
    def title(self):
        noise = ", multiplicative noise" if self.parameterization == "multiplicative" else ""
        return f"SparseVD{GROUPS[self.structure][0]}{noise}"

    def layer_values(self, incoming):
        return dict(threshold=self.threshold, train_clip=self.train_clip, log_sigma2=Constant(self.log_sigma2),
                    parameterization=self.parameterization, b=Constant(0.0), **KL_TERMS[self.kl])

    def _sampled(self):
        """What layers have whose weights are drawn: nothing is masked in training."""
        if self.parameterization != "additive":
            raise UserError("networks of texts have additive noise: leave --parameterization out")
        if self.initial_threshold is not None:
            raise UserError("--initial-threshold is of networks of images: in those of texts, pruned weights would "
                            "come back in training; leave it out")
        return dict(log_sigma2=Constant(self.log_sigma2), posterior=dict(threshold=self.threshold, **self._kl()))

    def _kl(self):
        return {name: value for name, value in KL_TERMS[self.kl].items() if name == "kl"}

    def embedding_layer(self, incoming, num_tokens, num_units, name, **keywords):
        return SparseVDEmbeddingLayer(incoming, num_tokens, num_units, name=name, group=GROUPS[self.structure][1],
                                      **self._sampled(), **keywords)

    def lstm_layer(self, incoming, num_units, name, **keywords):
        groups = GROUPS[self.structure][3 if keywords.get("num_inputs") else 2]
        return SparseVDLSTMLayer(incoming, num_units, name=name, groups=groups, **self._sampled(), **keywords)

    def output_layer(self, lstm, num_units, name, noise_for, **keywords):
        return SparseVDOutputLayer(lstm, num_units, name=name, noise_for=noise_for, scale=lstm.z_h,
                                   log_sigma2=Constant(self.log_sigma2), threshold=self.threshold, **self._kl(),
                                   **keywords)

    def start_needed(self):
        return "--initial-threshold cuts a finished run of SparseVD: give --init-from RUN"

    def start(self, net, missing, given):
        if not missing and "log_sigma2" not in given:
            if self.initial_threshold is None:
                return ", noise from there too"
            cut_at(net, self.initial_threshold)
            return f", noise from there too, cut at log alpha < {self.initial_threshold:g}"
        if self.initial_threshold is not None:
            raise UserError("--initial-threshold needs the noise of the weights that it starts from: start from a run "
                            "of --method sparse-vd, and leave --log-sigma2 out")
        from_weights = None if "log_sigma2" in given else self.log_sigma2_from_weights
        value = self.log_sigma2 if from_weights is None else from_weights
        for posterior in posteriors(net):
            posterior.set_log_sigma2(value)
        share = 100 * (sum(posterior.num_without_gradient() for posterior in posteriors(net))
                       / sum(posterior.theta.get_value(borrow=True).size for posterior in posteriors(net)))
        return f", log sigma^2 = {value:g}" + (
            f"; {share:.0f} % of the weights have log alpha < -8, where their noise does not grow and they are hardly "
            "pruned: that takes a higher --log-sigma2" if share >= 1 else "")

    def check(self, net):
        if self.structure != "none" and not any(isinstance(layer, SparseVDLSTMLayer) for layer in weight_layers(net)):
            raise UserError("--structure is of networks of texts: leave it out")

    def terms(self, net):
        warm_up = self.warm_up if self.kl_warm_up else ConstantSchedule(1.0)
        divergence = T.as_tensor_variable(sum(posterior.kl for posterior in posteriors(net)))
        return [Term("kl", "KL", divergence, lambda epoch: self.kl_weight * warm_up(epoch))]

    def groups(self, net):
        if self.noise_rate == 1:
            return super().groups(net)
        noise = [posterior.noise for posterior in posteriors(net)]
        return [Group([param for param in get_all_params(net, trainable=True) if param not in noise]),
                Group(noise, self.noise_rate)]

    def finish(self, net):
        if self.final_threshold is not None:
            cut_at(net, self.final_threshold)
