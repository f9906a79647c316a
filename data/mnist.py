"""MNIST and Fashion-MNIST: four files each, of the same names and format (idx, gzipped)."""

import gzip
import struct
import zlib

import numpy as np

from data.dataset import Raw
from data.download import Source, find_or_download
from utils.errors import UserError

__all__ = ["load_mnist", "load_fashion_mnist", "parse_idx"]

# The hashes are of the unpacked files: the same content is found in archives that differ.
MNIST = Source(
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

FASHION_MNIST = Source(
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


def _load(source, data_dir, variant=None):
    contents = find_or_download(source, data_dir, gunzip, variant)
    train_images, train_labels, test_images, test_labels = (parse_idx(*item[::-1]) for item in contents.items())
    return Raw(train_images[:, np.newaxis], train_labels, test_images[:, np.newaxis], test_labels, 10)


def gunzip(packed, name):
    """Unpacks a gzip file's content; what was unpacked already is returned as it is.

    Raises
    ------
    UserError
        if the content breaks off or is damaged.
    """
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{name} is truncated or damaged ({error})") from None


def parse_idx(content, name):
    """The array of unsigned bytes in an idx file.

    Parameters
    ----------
    content : bytes
        the unpacked file: two zero bytes, the type (8: unsigned byte), the number of axes, each axis's length as a
        big-endian 32-bit integer, the values in row-major order
    name : str
        for the error's text

    Raises
    ------
    UserError
        if it is not such a file, or its length is not what the header says.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise UserError(f"{name} is not an idx file of unsigned bytes")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise UserError(f"{name} breaks off in its header")
    shape = struct.unpack(f">{num_axes}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"{name} should hold {shape} values and holds {values.size}")
    return values.reshape(shape)
