"""L0 regularization: gates on groups of weights or on single ones, and a price on each weight that is not gated off."""

import math

import theano.tensor as T
from lasagne.init import Constant, HeNormal, Normal
from lasagne.layers import InputLayer, get_all_layers

from nets.layers.gated import GATES, GatedConv2DLayer, GatedDenseLayer, GatedLayer
from nets.methods.base import Column, Method, Term
from nets.schedules import Constant as ConstantSchedule
from nets.schedules import LinearWarmUp
from utils.errors import UserError
from utils.flags import Flag, fraction, weight

__all__ = ["L0"]


def _layers(net):
    return [layer for layer in get_all_layers(net) if isinstance(layer, GatedLayer)]


class L0(Method):
    """Layers of :mod:`nets.layers.gated`, and the expected number of weights, times a price, in the objective.

    Gates of groups are as in the authors' code: weights decay by half the sum of their squares, each times the
    probability that its gate is not 0, and log alpha is kept where a gate can come back. Gates of weights are as in
    Google's State of Sparsity: without either, and the price grows from 0.

    References
    ----------
    Louizos, Welling, Kingma (2018), Learning sparse neural networks through L0 regularization.
    Gale, Elsen, Hooker (2019), The state of sparsity in deep neural networks.
    """

    name = "l0"
    title = "L0"
    prunes = True
    dense_class = GatedDenseLayer
    conv_class = GatedConv2DLayer
    flags = (
        Flag("gates", "groups", "what has a gate: inputs of dense layers and filters of convolutions, or each weight",
             choices=GATES),
        Flag("l0_weight", [0.1], "the price of a weight in nats, one number for all layers or one each", weight,
             nargs="+"),
        Flag("drop_rate", [0.5], "where the drop rates of the gates start, one number or two: the first layer's, the "
                                 "others'", fraction, nargs="+"),
        # The standard deviation of log alpha at the start.
        Flag("spread", 0.01),
        Flag("decay", 5e-4, "the weight of half the sum of squared weights behind gates of groups, in nats", weight),
        # The price's, with gates of weights.
        Flag("ramp", LinearWarmUp(5, 20)),
        # Of log alpha, with gates of groups, after each step.
        Flag("clip", [math.log(0.01), math.log(100)]),
    )
    by_part = {"l0_weight": _layers}
    columns = (Column("expected_weights", "E weights", "9.0f"),)

    def layer_values(self, incoming):
        if len(self.drop_rate) > 2:
            raise UserError(f"--drop-rate has {len(self.drop_rate)} numbers: give one, or the first layer's and the "
                            "others'")
        drop_rate = self.drop_rate[0 if isinstance(incoming, InputLayer) else -1]
        return dict(gates=self.gates, log_alpha=Normal(self.spread, math.log(1 / drop_rate - 1)), W=HeNormal("relu"),
                    b=Constant(0.0))

    def terms(self, net):
        penalty = sum(price * layer.expected_weights() for layer, price in self.of_parts(net, "l0_weight"))
        if self.gates == "weights":
            return [Term("l0", "L0 penalty", T.as_tensor_variable(penalty), self.ramp)]
        penalty += self.decay / 2 * sum(layer.expected_squares() for layer in _layers(net))
        return [Term("l0", "L0 penalty", T.as_tensor_variable(penalty), ConstantSchedule(1.0))]

    def step_updates(self, net, updates):
        if self.gates == "weights":
            return {}
        return {layer.gates: T.clip(updates[layer.gates], *self.clip) for layer in _layers(net)}

    def row(self, net):
        return {"expected_weights": sum(layer.count_expected() for layer in _layers(net))}
