"""Gradual magnitude pruning: the smallest weights of each layer are masked, ever more of them as training goes on."""

from nets.methods.masking import Masking
from nets.schedules import LinearWarmUp
from utils.flags import Flag

__all__ = ["Magnitude"]


class Magnitude(Masking):
    """Masked layers, whose share of pruned weights grows as 1 - (1 - ramp)^3 of `sparsity`.

    A pruned weight has no gradient of the data, though weight decay and Adam's averages move it; it returns if kept
    ones become smaller than it is.

    References
    ----------
    Zhu, Gupta (2017), To prune, or not to prune: exploring the efficacy of pruning for model compression.
    """

    name = "magnitude"
    title = "Magnitude pruning"
    flags = (*Masking.flags, Flag("ramp", LinearWarmUp(10, 150)), Flag("refreshes", 3, None))

    def before_step(self, net, step):
        every = max(1, step.steps_per_epoch // self.refreshes)
        ramp, before = (self.ramp(number / step.steps_per_epoch) for number in (step.step, step.step - 1))
        if step.step + 1 == step.epochs * step.steps_per_epoch:
            ramp = 1        # the ramp of a short training may end within its last step
        # Nothing to prune yet, or all of it done, or not now; the ramp's end is always a refresh.
        if ramp == 0 or before == 1 or ramp < 1 and step.step % every:
            return
        for layer, target in self.targets(net):
            size = layer.W.get_value(borrow=True).size
            layer.keep_largest(round(size * (1 - target / 100 * (1 - (1 - ramp) ** 3))))
