"""What an architecture is built from: each method supplies the layers that stand for its weights.

An architecture (`nets.architectures`) is described once; the method decides whether its layers are dense or SparseVD.
"""

from collections import namedtuple
from functools import partial

from lasagne.init import Constant, Normal
from lasagne.layers import DenseLayer

from nets.sparse_vd import SparseVDDenseLayer

__all__ = ["Method", "dense", "sparse_vd"]

#: name : str, as in the tables. dense_layer : callable(incoming, num_units, nonlinearity=..., name=...) of a layer.
Method = namedtuple("Method", "name dense_layer")

# The same for all methods, so that none of them starts ahead.
_INITIAL = dict(W=Normal(0.01), b=Constant(0.0))


def dense():
    """Ordinary layers, from the same initial weights as the SparseVD ones."""
    return Method("dense", partial(DenseLayer, **_INITIAL))


def sparse_vd(threshold=3.0, train_clip=True, log_sigma2=-10.0):
    """SparseVD layers; `threshold` and `train_clip` as in :class:`nets.sparse_vd.SparseVDLayer`.

    Parameters
    ----------
    log_sigma2 : float
        where log sigma^2 starts, for every weight
    """
    return Method("SparseVD", partial(SparseVDDenseLayer, threshold=threshold, train_clip=train_clip,
                                      log_sigma2=Constant(log_sigma2), **_INITIAL))
