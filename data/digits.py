"""scikit-learn's 1,797 images of digits, which come with the package: to try the project without a download."""

import numpy as np

from data.dataset import Raw
from utils.errors import UserError

__all__ = ["load"]

TEST_EVERY = 5


def load(data_dir=None, variant=None):
    """The digits enlarged from 8x8 to 28x28; of each class, every fifth image is for testing (1,442 and 355 images).

    `data_dir` is not used, as nothing is stored; there is no variant.
    """
    if variant:
        raise UserError("the digits come with scikit-learn: there is no other --variant of them")
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = zoom(images.reshape(-1, 8, 8), (1, 3.5, 3.5), order=1)
    images = np.clip(np.rint(images * (255 / 16)), 0, 255).astype(np.uint8)
    labels = labels.astype(np.uint8)

    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[TEST_EVERY - 1::TEST_EVERY]] = True
    images = images[:, np.newaxis]
    return Raw(images[~test], labels[~test], images[test], labels[test], 10)
