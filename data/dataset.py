"""A data set as training sees it."""

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Dataset", "prepare"]


@dataclass(frozen=True)
class Dataset:
    """Images and labels, ready for a network.

    Attributes
    ----------
    name : str
        as in `data.names`
    train_images, test_images : numpy array
        (images, channels, rows, columns), float32
    train_labels, test_labels : numpy array
        (images,), int32, from 0
    num_classes : int
    fingerprint : str
        sha256 of the images and labels before preprocessing, so that a run can be resumed on the same data only
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    fingerprint: str


def prepare(name, train_images, train_labels, test_images, test_labels, num_classes):
    """Scales grey levels to pixels / 256 and subtracts the training set's mean image, as the original does.

    Parameters
    ----------
    train_images, test_images : numpy array
        (images, rows, columns), uint8
    train_labels, test_labels : numpy array
        (images,), uint8
    """
    digest = hashlib.sha256()
    for array in (train_images, train_labels, test_images, test_labels):
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array))
    mean = train_images.mean(axis=0, dtype=np.float64) / 256

    def scale(images):
        images = images.astype(np.float32)
        images /= 256
        images -= mean.astype(np.float32)
        return images[:, np.newaxis]

    return Dataset(name, scale(train_images), train_labels.astype(np.int32), scale(test_images),
                   test_labels.astype(np.int32), num_classes, digest.hexdigest())
