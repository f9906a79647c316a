"""Fine-tuning: the weights that another run kept are trained on, without noise and penalty."""

from nets.layers.masked import MaskedConv2DLayer, MaskedDenseLayer, masked_layers
from nets.methods.base import Method

__all__ = ["Finetune"]


class Finetune(Method):
    """Masked layers; what is 0 among the weights it starts from stays 0. It starts from any method's pruned weights."""

    name = "finetune"
    title = "Fine-tuning"
    prunes = True
    dense_class = MaskedDenseLayer
    conv_class = MaskedConv2DLayer
    starts_from = "weights_pruned.npz"
    needs_start = True

    def start(self, net, missing, given):
        for layer in masked_layers(net):
            W, mask = layer.W.get_value(), layer.mask.get_value()
            # A file of unpruned weights that a user names has masks of its own.
            layer.mask.set_value((W * mask != 0).astype(mask.dtype))
        return ", what is pruned there stays pruned"
