"""Pruning in rounds: train, leave the smallest weights of each layer out for good, retrain the others; again."""

import numpy as np
import theano

from nets.layers.masked import masked_layers
from nets.methods.base import Column
from nets.methods.masking import Masking
from nets.schedules import LinearWarmUp
from utils.flags import Flag

__all__ = ["Pruning"]


class Pruning(Masking):
    """Masked layers; `rounds` of pruning and retraining, evenly over the epochs from `retraining`'s begin to its end.

    Before it there is the training of the dense network. The last epoch does all rounds that are left, however few
    epochs there are. Round r of R prunes a layer to 1 - (1 - p)^(r/R), p the final sparsity; the paper speaks of the
    threshold in units of the layer's standard deviation, its quality parameter, which was not published: that of a
    round (of the weights that are left before it) is in the history, the mean over layers.

    References
    ----------
    Han, Pool, Tran, Dally (2015), Learning both weights and connections for efficient neural networks.
    """

    name = "pruning"
    title = "Pruning"
    flags = (*Masking.flags, Flag("retraining", LinearWarmUp(40, 140)), Flag("rounds", 5, None))
    columns = (Column("pruning_round", "round", "5.0f"), Column("quality", "q", "5.2f"))

    def __init__(self, **values):
        super().__init__(**values)
        self._round = theano.shared(np.zeros((), "int64"), "round")
        self._quality = theano.shared(np.zeros((), "float64"), "quality")

    def state(self, net):
        return {"round": self._round, "quality": self._quality}

    def step_updates(self, net, updates):
        # The optimizer's averages would move what is pruned.
        return {layer.W: updates[layer.W] * layer.mask for layer in masked_layers(net)}

    def begin_epoch(self, net, step):
        due = self.rounds if step.epoch + 1 == step.epochs else self.rounds_until(step.epoch)
        if due > self._round.get_value():
            self._quality.set_value(np.mean([
                prune(layer, (1 - target / 100) ** (due / self.rounds)) for layer, target in self.targets(net)]))
            self._round.set_value(due)

    def rounds_until(self, epoch):
        """How many rounds have begun in the epoch of that number."""
        begin, end = self.retraining.begin, self.retraining.end
        # By the epoch's middle: rounds need not begin at whole numbers, but epochs do.
        passed = (epoch + 0.5 - begin) / (end - begin)
        return 0 if passed < 0 else min(self.rounds, int(passed * self.rounds) + 1)

    def row(self, net):
        return {"pruning_round": int(self._round.get_value()), "quality": float(self._quality.get_value())}


def prune(layer, share):
    """Leaves a share of all weights of a layer, the largest; returns the threshold over their standard deviation."""
    W = layer.W.get_value()
    left = W[layer.mask.get_value() == 1]
    layer.W.set_value(W * layer.mask.get_value())
    layer.keep_largest(min(round(W.size * share), left.size))
    mask = layer.mask.get_value()
    layer.W.set_value(W * mask)
    return float(abs(W[mask == 1]).min() / left.std()) if mask.any() and left.size > 1 else 0.0
