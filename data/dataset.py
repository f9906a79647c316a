"""A data set as its files hold it, and as training sees it."""

import hashlib
from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from data import preprocessing
from utils.errors import UserError

__all__ = ["Raw", "Dataset", "prepare", "with_random_labels", "split_for_validation"]

#: What a data set's files hold. Images: (images, channels, rows, columns), uint8; labels: (images,), uint8.
Raw = namedtuple("Raw", "train_images train_labels test_images test_labels num_classes")


@dataclass(frozen=True)
class Dataset:
    """Images and labels, ready for a network.

    Attributes
    ----------
    name : str
        as it stands in tables
    train_images, test_images : numpy array
        (images, channels, rows, columns), float32
    train_labels, test_labels : numpy array
        (images,), int32, from 0
    num_classes : int
    fingerprint : str
        sha256 of images and labels before preprocessing, so that a run can be resumed on the same data only
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    fingerprint: str


def with_random_labels(raw, seed):
    """The same images, the training set's labels drawn uniformly at random; the test set stays as it is.

    References
    ----------
    Zhang et al. (2017), Understanding deep learning requires rethinking generalization; Molchanov, Ashukha, Vetrov
    (2017), table 2.
    """
    labels = np.random.default_rng(seed).integers(0, raw.num_classes, len(raw.train_labels), dtype=np.uint8)
    return raw._replace(train_labels=labels)


def split_for_validation(raw, count):
    """The training set without its last `count` images, and these in place of the test set, which nobody sees.

    The images are in no order by class in any of the data sets, so that the last ones are as good as drawn ones.

    Raises
    ------
    UserError
        if no training image is left.
    """
    if count >= len(raw.train_images):
        raise UserError(f"--validation {count} leaves none of the {len(raw.train_images)} training images")
    return Raw(raw.train_images[:-count], raw.train_labels[:-count], raw.train_images[-count:],
               raw.train_labels[-count:], raw.num_classes)


def prepare(name, raw, method="mean-image", cache_folder=None):
    """The :class:`Dataset` of a :class:`Raw` one.

    Parameters
    ----------
    name : str
        as it is to stand in tables
    method : str
        one of `data.preprocessing.names`
    cache_folder : str or None
        where whitening keeps its matrix
    """
    regularization = {"zca": preprocessing.ZCA_REGULARIZATION,
                      "zca-original": preprocessing.ZCA_ORIGINAL_REGULARIZATION}.get(method)
    if regularization is not None:
        train_images, test_images = preprocessing.zca(raw.train_images, raw.test_images, cache_folder, regularization)
    else:
        train_images, test_images = preprocessing.mean_image(raw.train_images, raw.test_images)
    return Dataset(name, train_images, raw.train_labels.astype(np.int32), test_images,
                   raw.test_labels.astype(np.int32), raw.num_classes, _fingerprint(raw))


def _fingerprint(raw):
    digest = hashlib.sha256()
    for array in raw[:4]:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
