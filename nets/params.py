"""Parameters by name: how weights are saved, loaded and carried from one network to another."""

from collections import OrderedDict

from lasagne.layers import get_all_layers

__all__ = ["named_params"]


def named_params(net, **tags):
    """The parameters of a network as {"<layer>.<parameter>": shared variable}, in the network's order.

    Names are those of the layers and of the layers' attributes (`dense1.W`, `dense1.log_sigma2`, `dense1.b`), so that
    the same parameters of a dense and of a SparseVD net have the same names. Tags select as in Lasagne:
    `training_only=False` leaves log sigma^2 out.
    """
    # Lasagne prefixes a parameter's own name with the layer's, if that has one.
    return OrderedDict((f"{layer.name}.{param.name.split('.')[-1]}", param)
                       for layer in get_all_layers(net) for param in layer.get_params(**tags))
