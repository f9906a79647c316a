"""scikit-learn's 1,797 images of digits, which come with the package: to try the project without a download.

Of each class, every fifth image is for testing: 1,442 and 355 images.
"""

import numpy as np

from data.dataset import Raw, Split
from utils.errors import UserError

__all__ = ["load", "load_8x8", "load_8x8_noise"]

TEST_EVERY = 5


def load(data_dir=None, variant=None):
    """The digits enlarged from 8x8 to 28x28, the size of MNIST's.

    `data_dir` is not used, as nothing is stored; there is no variant.
    """
    from scipy.ndimage import zoom

    images, labels = _images(variant)
    enlarged = np.clip(np.rint(zoom(images, (1, 3.5, 3.5), order=1) * (255 / 16)), 0, 255)
    return _split(enlarged[:, np.newaxis], labels)


def load_8x8(data_dir=None, variant=None):
    """The digits as they are, 8x8. Parameters as in :func:`load`."""
    images, labels = _images(variant)
    return _split(np.rint(images * (255 / 16))[:, np.newaxis], labels)


def load_8x8_noise(data_dir=None, variant=None):
    """The digits, 8x8, with a second channel of uniform noise, the same each time. Parameters as in :func:`load`."""
    images, labels = _images(variant)
    noise = np.random.default_rng(0).integers(0, 256, images.shape)
    return _split(np.stack([np.rint(images * (255 / 16)), noise], axis=1), labels)


def _images(variant):
    from sklearn.datasets import load_digits

    if variant:
        raise UserError("the digits come with scikit-learn: there is no other --variant of them")
    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8), labels.astype(np.uint8)


def _split(images, labels):
    images = images.astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[TEST_EVERY - 1::TEST_EVERY]] = True
    return Raw(Split(images[~test], labels[~test]), Split(images[test], labels[test]), 10)
