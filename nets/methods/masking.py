"""What magnitude pruning and pruning in rounds have in common."""

from nets.layers.masked import MaskedConv2DLayer, MaskedDenseLayer, masked_layers
from nets.methods.base import Method
from utils.flags import Flag, percent

__all__ = ["Masking"]


class Masking(Method):
    """Masked layers, of which each has a final sparsity."""

    prunes = True
    dense_class = MaskedDenseLayer
    conv_class = MaskedConv2DLayer
    flags = (Flag("sparsity", [90.0], "percent of a layer's weights that are pruned at the end, one number for all "
                                      "layers or one each", percent, nargs="+"),)

    by_part = {"sparsity": masked_layers}

    def targets(self, net):
        """The masked layers, each with its final sparsity in percent: a list of pairs."""
        return self.of_parts(net, "sparsity")
