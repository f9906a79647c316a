"""Gradual magnitude pruning: the smallest weights of each layer are masked, ever more of them as training goes on."""

from lasagne.layers import get_all_layers

from nets.layers.masked import MaskedConv2DLayer, MaskedDenseLayer, MaskedLayer
from nets.methods.base import Method
from nets.schedules import LinearWarmUp
from utils.flags import Flag, per_layer, percent

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
    dense_class = MaskedDenseLayer
    conv_class = MaskedConv2DLayer
    flags = (
        Flag("sparsity", [90.0], "percent of a layer's weights that are pruned at the end, one number for all layers "
                                 "or one each", percent, nargs="+"),
        Flag("ramp", LinearWarmUp(10, 150)),
        Flag("refreshes", 3, None),
    )

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
        return per_layer("--sparsity", self.sparsity, number)
