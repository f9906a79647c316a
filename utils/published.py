"""What the paper reports, to stand beside what is measured."""

from collections import namedtuple

__all__ = ["Published", "rows", "RANDOM_LABELS", "LOGISTIC_REGRESSION"]

#: network, method, dataset : str; error_percent, compression : float; sparsity_percent : tuple by layer.
Published = namedtuple("Published", "network method dataset error_percent sparsity_percent compression")

# Molchanov, Ashukha, Vetrov (2017), table 1, as in the original repository's README, where "Dense" is "Original".
_LENETS = (
    Published("LeNet-300-100", "Dense", "mnist", 1.64, (), 1),
    Published("LeNet-300-100", "Pruning", "mnist", 1.59, (92.0, 91.0, 74.0), 12),
    Published("LeNet-300-100", "DNS", "mnist", 1.99, (98.2, 98.2, 94.5), 56),
    Published("LeNet-300-100", "SWS", "mnist", 1.94, (), 23),
    Published("LeNet-300-100", "SparseVD", "mnist", 1.92, (98.9, 97.2, 62.0), 68),
    Published("LeNet-5-Caffe", "Dense", "mnist", 0.8, (), 1),
    Published("LeNet-5-Caffe", "Pruning", "mnist", 0.77, (34, 88, 92.0, 81), 12),
    Published("LeNet-5-Caffe", "DNS", "mnist", 0.91, (86, 97, 99.3, 96), 111),
    Published("LeNet-5-Caffe", "SWS", "mnist", 0.97, (), 200),
    Published("LeNet-5-Caffe", "SparseVD", "mnist", 0.75, (67, 98, 99.8, 95), 280),
)

# The same, figure 3, digitised: errors are good to 0.1, compressions to 0.5. CIFAR-100's labels were the coarse ones.
_VGG_LIKE = tuple(
    Published(f"VGG-like, k = {k:g}", method, dataset, error, (), compression)
    for k, *cifar10, dense100, sparse100, compression100 in (
        (0.25, 13.1, 13.5, 5.7, 31.8, 32.2, 1.7), (0.5, 8.2, 8.5, 13.8, 23.0, 23.6, 8),
        (1, 7.3, 7.3, 48, 20.0, 20.4, 20), (1.5, 7.0, 7.0, 65, 18.8, 19.7, 41))
    for dataset, dense, sparse, sparse_compression in (("cifar10", *cifar10),
                                                       ("cifar100-coarse", dense100, sparse100, compression100))
    for method, error, compression in (("Binary dropout", dense, 1), ("SparseVD", sparse, sparse_compression)))

_ROWS = _LENETS + _VGG_LIKE

_RandomLabels = namedtuple("_RandomLabels", "network method dataset train_accuracy test_accuracy sparsity_percent")

#: The same, table 2.
RANDOM_LABELS = tuple(
    _RandomLabels(network, method, dataset, train, 0.1, sparsity)
    for network, dataset in (("LeNet-300-100", "mnist"), ("VGG-like", "cifar10"))
    for method, train, sparsity in (("Binary dropout", 1.0, None), ("SparseVD", 0.1, 100.0)))

_LogisticRegression = namedtuple("_LogisticRegression", "dataset method test_accuracy sparsity_percent")

#: The authors' poster at a workshop in 2016. Its RVM (relevance vector machine) has no figures for MNIST.
LOGISTIC_REGRESSION = tuple(
    _LogisticRegression(dataset, method, accuracy, sparsity)
    for dataset, *columns in (
        ("mnist", (0.926, 69.8), (0.919, 57.8)),
        ("digits-8x8", (0.948, 75.4), (0.955, 38.0), (0.945, 74.6)),
        ("digits-8x8-noise", (0.930, 87.6), (0.937, 55.9), (0.846, 85.7)))
    for method, (accuracy, sparsity) in zip(("SparseVD", "L1", "RVM"), columns))


def rows(network=None, method=None):
    """The published rows, of one network and method or of all."""
    return [row for row in _ROWS if network in (None, row.network) and method in (None, row.method)]
