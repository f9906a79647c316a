"""Gradual magnitude pruning: the smallest weights of each layer are masked, ever more of them as training goes on."""

from lasagne.init import Constant, Normal
from lasagne.layers import get_all_layers

from nets.layers.masked import MaskedConv2DLayer, MaskedDenseLayer, MaskedLayer
from nets.methods.base import Method
from nets.schedules import LinearWarmUp
from utils.errors import UserError
from utils.flags import Flag, percent

__all__ = ["Magnitude"]


class Magnitude(Method):
    """Masked layers, whose share of pruned weights grows as 1 - (1 - ramp)^3 of `sparsity`.

    A pruned weight has no gradient, and returns if kept ones become smaller than it is.

    References
    ----------
    Zhu, Gupta (2017), To prune, or not to prune: exploring the efficacy of pruning for model compression.
    """

    name = "magnitude"
    title = "Magnitude pruning"
    prunes = True
    flags = (
        Flag("sparsity", [90.0], "percent of a layer's weights that are pruned at the end, one number for all layers or "
                                 "one each", percent, nargs="+"),
        Flag("ramp", LinearWarmUp(10, 150)),
        Flag("refreshes", 3, None),
    )

    def dense_layer(self, incoming, num_units, nonlinearity, name):
        return MaskedDenseLayer(incoming, num_units, W=Normal(0.01), b=Constant(0.0), nonlinearity=nonlinearity,
                                name=name)

    def conv_layer(self, incoming, num_filters, filter_size, nonlinearity, name, pad=0):
        return MaskedConv2DLayer(incoming, num_filters, filter_size, pad=pad, W=Normal(0.01), b=Constant(0.0),
                                 nonlinearity=nonlinearity, name=name)

    def before_step(self, net, step):
        every = max(1, step.steps_per_epoch // self.refreshes)
        if step.step % every:
            return
        ramp, before = (self.ramp(number / step.steps_per_epoch) for number in (step.step, step.step - every))
        if ramp == 0 or before == 1:    # nothing to prune yet, or all of it done
            return
        layers = [layer for layer in get_all_layers(net) if isinstance(layer, MaskedLayer)]
        for layer, target in zip(layers, self.targets(len(layers))):
            size = layer.W.get_value(borrow=True).size
            layer.keep_largest(round(size * (1 - target / 100 * (1 - (1 - ramp) ** 3))))

    def targets(self, number):
        """The final sparsity of each of `number` layers, in percent."""
        if len(self.sparsity) not in (1, number):
            raise UserError(f"--sparsity has {len(self.sparsity)} numbers: give one, or one for each of the {number} "
                            "layers")
        return list(self.sparsity) * (number // len(self.sparsity))
