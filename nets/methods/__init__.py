"""What an architecture is built from: each method supplies the layers that stand for its weights.

An architecture (`nets.architectures`) is described once; the method decides whether its layers are dense or SparseVD,
and whether there is binary dropout between them.
"""

from collections import namedtuple
from functools import partial

from lasagne.init import Constant, GlorotUniform, Normal

from nets import kl as divergence
from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer
from nets.layers.dropout import BinaryDropoutLayer
from nets.layers.sparse_vd import SparseVDConv2DLayer, SparseVDDenseLayer

__all__ = ["Method", "NAMES", "KL_TERMS", "title", "dense", "binary_dropout", "sparse_vd"]

#: Methods as one asks for them, and as the tables name them.
NAMES = {"sparse-vd": "SparseVD", "dense": "Dense", "binary-dropout": "Binary dropout"}

#: dense_layer : callable(incoming, num_units, nonlinearity=..., name=...) of a layer.
#: conv_layer : callable(incoming, num_filters, filter_size, pad=..., nonlinearity=..., name=...) of a layer.
#: dropout : callable(incoming, p) of a layer, `incoming` itself where the method has no binary dropout.
Method = namedtuple("Method", "dense_layer conv_layer dropout")

# Where the authors' layers start: ordinary ones, and SparseVD's dense ones; SparseVD's convolutions.
_NORMAL = dict(W=Normal(0.01), b=Constant(0.0))
_GLOROT = dict(W=GlorotUniform(), b=Constant(0.0))
#: What the KL term is made of: the paper's formula; that of the first version of the authors' code, where pruned weights
#: had no share of it.
KL_TERMS = {"paper": {}, "first-version": dict(kl=divergence.first_version, pruned_kl=False)}


def title(name, parameterization="additive"):
    """How tables name a method, given as in `NAMES`; SparseVD with multiplicative noise is one of its own."""
    multiplicative = name == "sparse-vd" and parameterization == "multiplicative"
    return NAMES[name] + (", multiplicative noise" if multiplicative else "")


def dense():
    """Ordinary layers; convolutions, too, start from N(0, 0.01^2), as the authors' do."""
    return Method(partial(DenseLayer, **_NORMAL), partial(Conv2DLayer, **_NORMAL), _no_dropout)


def binary_dropout(rate=None):
    """Ordinary layers, with binary dropout where the architecture has it.

    Parameters
    ----------
    rate : float or None
        takes the place of the architecture's rates
    """
    if rate is None:
        return dense()._replace(dropout=BinaryDropoutLayer)
    return dense()._replace(dropout=lambda incoming, p: BinaryDropoutLayer(incoming, rate))


def sparse_vd(threshold=3.0, train_clip=True, log_sigma2=-10.0, parameterization="additive", kl="paper"):
    """SparseVD layers; `threshold`, `train_clip`, `parameterization` as in :class:`nets.layers.sparse_vd.SparseVDLayer`.

    Parameters
    ----------
    log_sigma2 : float
        where log sigma^2 starts, for every weight
    kl : str
        one of `KL_TERMS`
    """
    posterior = dict(threshold=threshold, train_clip=train_clip, log_sigma2=Constant(log_sigma2),
                     parameterization=parameterization, **KL_TERMS[kl])
    return Method(partial(SparseVDDenseLayer, **posterior, **_NORMAL),
                  partial(SparseVDConv2DLayer, **posterior, **_GLOROT), _no_dropout)


def _no_dropout(incoming, p):
    return incoming
