"""Where layers have their noise from."""

import lasagne

from nets import kernels

__all__ = ["layer_noise"]


def layer_noise(name):
    """The stream of normal numbers of a layer of this name; as in Lasagne's noise layers, its generator seeds it."""
    return kernels.normal_stream(lasagne.random.get_rng().randint(1, 2147462579), f"noise/{name}")
