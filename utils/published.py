"""What the paper reports, to stand beside what is measured."""

from collections import namedtuple

__all__ = ["Published", "rows"]

#: network, method : str; error_percent : float or None; sparsity_percent : tuple by layer; compression : float.
Published = namedtuple("Published", "network method dataset error_percent sparsity_percent compression")

# Molchanov, Ashukha, Vetrov (2017), table 1, as in the original repository's README.
_ROWS = (
    Published("LeNet-300-100", "Original", "mnist", 1.64, (), 1),
    Published("LeNet-300-100", "Pruning", "mnist", 1.59, (92.0, 91.0, 74.0), 12),
    Published("LeNet-300-100", "DNS", "mnist", 1.99, (98.2, 98.2, 94.5), 56),
    Published("LeNet-300-100", "SWS", "mnist", 1.94, (), 23),
    Published("LeNet-300-100", "SparseVD", "mnist", 1.92, (98.9, 97.2, 62.0), 68),
)


def rows(network=None, method=None):
    """The published rows, of one network and method or of all."""
    return [row for row in _ROWS if network in (None, row.network) and method in (None, row.method)]
