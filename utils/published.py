"""What the paper and others report, to stand beside what is measured."""

from collections import namedtuple

__all__ = ["Published", "rows", "method_title", "RANDOM_LABELS", "LOGISTIC_REGRESSION", "FRONTIER",
           "TEXTS", "UNITS"]

#: network, method : str, names as in `nets`; k : float; network_title, method_title, dataset : str; error_percent,
#: compression : float; sparsity_percent : tuple by layer.
Published = namedtuple("Published", "network k method network_title method_title dataset error_percent "
                                    "sparsity_percent compression")

_TITLES = {"lenet-300-100": "LeNet-300-100", "lenet-500-300": "LeNet-500-300", "lenet-5-caffe": "LeNet-5-Caffe",
           "vgg-like": "VGG-like", "sbp": "SBP", "l0": "L0",
           "dense": "Dense", "pruning": "Pruning", "dns": "DNS", "sws": "SWS", "sparse-vd": "SparseVD",
           "binary-dropout": "Binary dropout", "l1": "L1", "rvm": "RVM"}

# Molchanov, Ashukha, Vetrov (2017), table 1, as in the original repository's README, where "Dense" is "Original".
_LENETS = tuple(Published(network, 1.0, method, _TITLES[network], _TITLES[method], "mnist", *numbers)
                for network, method, *numbers in (
    ("lenet-300-100", "dense", 1.64, (), 1),
    ("lenet-300-100", "pruning", 1.59, (92.0, 91.0, 74.0), 12),
    ("lenet-300-100", "dns", 1.99, (98.2, 98.2, 94.5), 56),
    ("lenet-300-100", "sws", 1.94, (), 23),
    ("lenet-300-100", "sparse-vd", 1.92, (98.9, 97.2, 62.0), 68),
    ("lenet-5-caffe", "dense", 0.8, (), 1),
    ("lenet-5-caffe", "pruning", 0.77, (34, 88, 92.0, 81), 12),
    ("lenet-5-caffe", "dns", 0.91, (86, 97, 99.3, 96), 111),
    ("lenet-5-caffe", "sws", 0.97, (), 200),
    ("lenet-5-caffe", "sparse-vd", 0.75, (67, 98, 99.8, 95), 280)))

# The same, figure 3, digitised: errors are good to 0.1, compressions to 0.5. CIFAR-100's labels were the coarse ones.
_VGG_LIKE = tuple(
    Published("vgg-like", k, method, f"VGG-like, k = {k:g}", _TITLES[method], dataset, error, (), compression)
    for k, *cifar10, dense100, sparse100, compression100 in (
        (0.25, 13.1, 13.5, 5.7, 31.8, 32.2, 1.7), (0.5, 8.2, 8.5, 13.8, 23.0, 23.6, 8),
        (1.0, 7.3, 7.3, 48, 20.0, 20.4, 20), (1.5, 7.0, 7.0, 65, 18.8, 19.7, 41))
    for dataset, dense, sparse, sparse_compression in (("cifar10", *cifar10),
                                                       ("cifar100-coarse", dense100, sparse100, compression100))
    for method, error, compression in (("binary-dropout", dense, 1), ("sparse-vd", sparse, sparse_compression)))

_ROWS = _LENETS + _VGG_LIKE

_RandomLabels = namedtuple("_RandomLabels", "network method network_title method_title dataset train_accuracy "
                                            "test_accuracy sparsity_percent")

#: The same, table 2.
RANDOM_LABELS = tuple(
    _RandomLabels(network, method, _TITLES[network], _TITLES[method], dataset, train, 0.1, sparsity)
    for network, dataset in (("lenet-300-100", "mnist"), ("vgg-like", "cifar10"))
    for method, train, sparsity in (("binary-dropout", 1.0, None), ("sparse-vd", 0.1, 100.0)))

_LogisticRegression = namedtuple("_LogisticRegression", "dataset method_title test_accuracy sparsity_percent")

#: The authors' poster at a workshop in 2016. Its RVM (relevance vector machine) has no figures for MNIST.
LOGISTIC_REGRESSION = tuple(
    _LogisticRegression(dataset, _TITLES[method], accuracy, sparsity)
    for dataset, *columns in (
        ("mnist", (0.926, 69.8), (0.919, 57.8)),
        ("digits-8x8", (0.948, 75.4), (0.955, 38.0), (0.945, 74.6)),
        ("digits-8x8-noise", (0.930, 87.6), (0.937, 55.9), (0.846, 85.7)))
    for method, (accuracy, sparsity) in zip(("sparse-vd", "l1", "rvm"), columns))

_Frontier = namedtuple("_Frontier", "network network_title method_title dataset error_percent compression source")

_GSM = "Ding et al., NeurIPS 2019, DingXiaoH/GSM-SGD: poster.pdf"
_DETTMERS = "TimDettmers/sparse_learning: results/MNIST_compression_comparison_*.csv"

#: Others' best, as far as both error and compression could be read. Most compressions are 1 / density; those of GSM
#: count all parameters.
FRONTIER = tuple(
    _Frontier(network, _TITLES[network], method, "mnist", error, compression, source)
    for network, method, source, *points in (
        ("lenet-300-100", "GSM", _GSM, (1.82, 60)),
        ("lenet-300-100", "GSM, tickets retrained", _GSM, (1.78, 60)),
        ("lenet-300-100", "ADMM", f"Zhang et al., 2018, in {_GSM}", (1.6, 23)),
        ("lenet-300-100", "L-OBS", f"{_DETTMERS}, and {_GSM}", (2.0, 67), (1.82, 14)),
        ("lenet-300-100", "LC", f"Carreira-Perpinan et al., 2018, in {_DETTMERS}", (3.2, 100)),
        ("lenet-300-100", "LC toolbox", "UCMerced-ML/LC-model-compression: examples/lenet300/README.md", (2.18, 20)),
        ("lenet-300-100", "Sparse momentum", _DETTMERS, (2.36, 100), (2.05, 67), (1.98, 56), (1.55, 23)),
        ("lenet-300-100", "SNIP", _DETTMERS, (2.4, 50), (1.6, 20)),
        ("lenet-300-100", "Targeted dropout", _DETTMERS, (3.77, 50), (3.13, 20)),
        ("lenet-5-caffe", "GSM", _GSM, (0.94, 300), (0.78, 125)),
        ("lenet-5-caffe", "Sparse momentum", _DETTMERS, (1.40, 250), (1.14, 200), (0.89, 111), (0.83, 100)),
        ("lenet-5-caffe", "SNIP", _DETTMERS, (1.1, 100)),
        ("lenet-5-caffe", "LC", _DETTMERS, (1.1, 100)),
        ("lenet-5-caffe", "L-OBS", _DETTMERS, (2.1, 100)),
        ("lenet-5-caffe", "ADMM", "KaiqiZhang/admm-pruning: README.md", (0.8, 71)))
    for error, compression in points)


class Units(namedtuple("Units", "network method network_title method_title dataset error_percent units source")):
    """What is left of a network's units, counted as by :func:`utils.export.compact`; `method` is None if it is none of
    `nets.methods`."""

    __slots__ = ()

    @property
    def units_before(self):
        """The whole network's."""
        return {"lenet-500-300": (784, 500, 300), "lenet-5-caffe": (20, 50, 800, 500)}[self.network]

    @property
    def multiplications(self):
        """An image's, with the last layer's."""
        return self._multiplications(*self.units)

    @property
    def multiplications_before(self):
        """The whole network's."""
        return self._multiplications(*self.units_before)

    def _multiplications(self, *units):
        filters, dense = (units[:2], units[2:]) if self.network == "lenet-5-caffe" else ((), units)
        # Places of the image times weights of 5x5.
        convolved = 24 * 24 * 25 * filters[0] + 8 * 8 * 25 * filters[0] * filters[1] if filters else 0
        return convolved + sum(inputs * outputs for inputs, outputs in zip(dense, (*dense[1:], 10)))


_SBP = "Neklyudov et al., NIPS 2017, as in necludov/group-sparsity-sbp: README.md"
_L0 = "Louizos et al., ICLR 2018, table 1"

#: Of whole units, mnist. Multiplications are counted from the units: SBP's paper has 10.49x for its LeNet-5, not 10.8x.
UNITS = tuple(
    Units(network, method, _TITLES[network], title or _TITLES[method], "mnist", error, units, source)
    for network, method, title, source, error, units in (
        ("lenet-500-300", "dense", None, _SBP, 1.54, (784, 500, 300)),
        ("lenet-500-300", "sparse-vd", None, _SBP, 1.57, (537, 217, 130)),
        ("lenet-500-300", None, "SSL", _SBP, 1.49, (434, 174, 78)),
        ("lenet-500-300", "sbp", None, _SBP, 1.55, (245, 160, 55)),
        ("lenet-5-caffe", "dense", None, _SBP, 0.80, (20, 50, 800, 500)),
        ("lenet-5-caffe", "sparse-vd", None, _SBP, 0.75, (17, 32, 329, 75)),
        ("lenet-5-caffe", None, "SSL", _SBP, 1.00, (3, 12, 800, 500)),
        ("lenet-5-caffe", "sbp", None, _SBP, 0.86, (3, 18, 284, 283)),
        ("lenet-5-caffe", "l0", None, _L0, 1.0, (9, 18, 65, 25)),
        ("lenet-5-caffe", None, "Group normal-Jeffreys", _L0, 1.0, (8, 13, 88, 13)),
        ("lenet-5-caffe", None, "Group horseshoe", _L0, 1.0, (5, 10, 76, 16)),
        ("lenet-5-caffe", None, "GD (Srinivas & Babu)", _L0, 1.1, (7, 13, 208, 16))))


_Text = namedtuple("_Text", "network network_title method method_title dataset measure valid test words dimensions "
                            "neurons gates compression")

#: The logs of tipt0p/SparseBayesianRNN at the last epoch; of the dense language models, at the epoch that is best on
#: validation data. measure : what valid and test are, a key of summaries behind `valid_`; dimensions : None without an
#: embedding.
TEXTS = tuple(
    _Text(network, title, "dense" if who == "Dense" else "sparse-vd", who, dataset, measure,
          *(round(100 - value, 1) if measure == "error_percent" else value for value in (valid, test)), *counts)
    for network, title, dataset, measure, *models in (
        ("text-lstm", "LSTM classifier, 128 units", "imdb", "error_percent",
         ("SparseVD", 85.9, 84.1, 5054, 7, 9, 20, 1209), ("SparseVD-Voc", 83.5, 83.3, 265, 1, 7, 18, 19499),
         ("SparseVD, W+N", 84.2, 84.0, 316, 1, 7, 19, 16676), ("SparseVD, W+G+N", 84.2, 83.9, 307, 1, 7, 8, 18457)),
        ("text-lstm", "LSTM classifier, 512 units", "ag-news", "error_percent",
         ("SparseVD", 89.6, 89.0, 5737, 193, 65, 72, 350), ("SparseVD-Voc", 89.8, 89.1, 2450, 115, 34, 76, 561),
         ("SparseVD, W+N", 89.4, 88.6, 2351, 43, 17, 62, 645), ("SparseVD, W+G+N", 89.4, 88.4, 2295, 46, 14, 39, 640)),
        ("char-lstm", "LSTM of characters, 1000 units", "ptb", "bits",
         ("Dense", 1.498, 1.455, 50, None, 1000, 4000, 1), ("SparseVD", 1.472, 1.429, 50, None, 431, 1718, 7.89),
         ("SparseVD-Voc", 1.458, 1.417, 46, None, 510, 2026, 5.96),
         ("SparseVD, W+N", 1.478, 1.430, 50, None, 390, 1560, 10.0),
         ("SparseVD, W+G+N", 1.467, 1.425, 50, None, 404, 1563, 9.8)),
        ("word-lstm", "LSTM of words, 256 units", "ptb (words)", "perplexity",
         ("Dense", 135.6, 129.3, 10000, None, 256, 1024, 1), ("SparseVD", 115.0, 109.2, 9990, None, 156, 288, 22.1),
         ("SparseVD-Voc", 126.0, 120.2, 3164, None, 209, 513, 19.3),
         ("SparseVD, W+N", 116.1, 111.0, 9992, None, 127, 276, 23.5),
         ("SparseVD, W+G+N", 122.0, 116.5, 9972, None, 117, 201, 24.5)))
    for who, valid, test, *counts in models)


def method_title(name):
    """How tables call the method of a name; the name, if nothing is published of it."""
    return _TITLES.get(name, name)


def rows(network=None, k=None, method=None):
    """The published rows, of one network, width and method or of all."""
    return [row for row in _ROWS if network in (None, row.network) and k in (None, row.k)
            and method in (None, row.method)]
