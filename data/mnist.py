"""MNIST and Fashion-MNIST: four files each, of the same names and format (idx, gzipped)."""

import numpy as np

from data.archives import gunzip, parse_idx
from data.dataset import Raw, Split
from data.download import FileSet, find_or_download
from utils.errors import UserError

__all__ = ["load_mnist", "load_fashion_mnist"]

# The hashes are of the unpacked files: the same content is found in archives that differ.
MNIST = FileSet(
    name="mnist",
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/",
             "https://storage.googleapis.com/cvdf-datasets/mnist/",
             "http://yann.lecun.com/exdb/mnist/"),
    system_folders=(),
    sha256={
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    })

FASHION_MNIST = FileSet(
    name="fashion-mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
             "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"),
    system_folders=("/usr/share/datasets/fashion-mnist",),  # Debian's package dataset-fashion-mnist
    sha256={
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    })


def load_mnist(data_dir=None, variant=None):
    """MNIST: 60,000 training and 10,000 test images of digits, 28x28. Parameters as in `data.load`."""
    return _load(MNIST, data_dir, variant)


def load_fashion_mnist(data_dir=None, variant=None):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28. Parameters as in `data.load`."""
    return _load(FASHION_MNIST, data_dir, variant)


def _load(file_set, data_dir, variant=None):
    contents = find_or_download(file_set, data_dir, gunzip, variant)
    train_images, train_labels, test_images, test_labels = (parse_idx(content, name)
                                                            for name, content in contents.items())
    for images, labels, name in ((train_images, train_labels, "the training set"),
                                 (test_images, test_labels, "the test set")):
        if images.ndim != 3 or images.shape[1:] != train_images.shape[1:] or labels.shape != images.shape[:1] \
                or not images.size or labels.max() > 9:
            raise UserError(f"{name} of {file_set.name} is not images, all of one size, and a label from 0 to 9 for "
                            f"each: its files hold values of shape {images.shape} and {labels.shape}")
    return Raw(Split(train_images[:, np.newaxis], train_labels), Split(test_images[:, np.newaxis], test_labels), 10)
