"""What is done to images before a network sees them: fitted on the training set, then applied to any images.

A fitted transform is called with images, uint8, (images, channels, rows, columns), and returns float32 of the same
shape. `arrays()` is all that it holds, to be saved beside a network's weights; `from_arrays` brings it back.
"""

import hashlib
import os
import sys
from functools import partial

import numpy as np
import scipy.linalg
from tqdm import tqdm

from utils import files
from utils.errors import UserError

__all__ = ["MeanImage", "Zca", "PREPROCESSINGS", "fit", "from_arrays"]

#: Added to the eigenvalues of the covariance of pixels / 256.
ZCA_REGULARIZATION = 1e-5
#: The same number, added to those of the covariance of the pixels themselves, as the original does.
ZCA_ORIGINAL_REGULARIZATION = 1e-5 / 256 ** 2
_CHUNK = 2000


class MeanImage:
    """Pixels / 256, minus the training set's mean image, as the original does for MNIST.

    Parameters
    ----------
    mean : numpy array
        (channels, rows, columns), float32, of pixels / 256
    """

    def __init__(self, mean):
        self.mean = mean

    @classmethod
    def fit(cls, train, cache_folder=None):
        """The transform for a training set; there is nothing to keep in a cache.

        Parameters
        ----------
        train : numpy array
            (images, channels, rows, columns), uint8
        """
        return cls(_mean(train))

    def __call__(self, images):
        """The images, centred; float32.

        Raises
        ------
        ValueError
            if they are not uint8 or have another shape than the training set's.
        """
        _check(images, self.mean)
        result = np.empty(images.shape, np.float32)
        for chunk in _chunks(len(images)):
            result[chunk] = _centered(images[chunk], self.mean)
        return result

    def arrays(self):
        """{name: numpy array}, as the constructor takes them."""
        return {"mean": self.mean}


class Zca:
    """ZCA whitening of pixels / 256: afterwards the training set's covariance is the identity.

    Parameters
    ----------
    mean : numpy array
        (channels, rows, columns), float32, of pixels / 256
    whitening : numpy array
        (pixels, pixels), float32, symmetric; the pixels of all channels in the mean image's order

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images, appendix A.
    """

    def __init__(self, mean, whitening):
        self.mean = mean
        self.whitening = whitening

    @classmethod
    def fit(cls, train, cache_folder=None, regularization=ZCA_REGULARIZATION):
        """The transform for a training set.

        Parameters
        ----------
        train : numpy array
            (images, channels, rows, columns), uint8
        cache_folder : str or None
            where the whitening matrix is kept, in a file named after the content of the training set
        regularization : float
            added to the eigenvalues of the covariance, so that directions that hardly vary are not blown up
        """
        mean = _mean(train)
        return cls(mean, _cached_whitening(train, mean, cache_folder, regularization))

    def __call__(self, images):
        """The images, whitened; float32.

        Raises
        ------
        ValueError
            if they are not uint8 or have another shape than the training set's.
        """
        _check(images, self.mean)
        result = np.empty(images.shape, np.float32)
        flat = result.reshape(len(images), self.mean.size)
        for chunk in tqdm(_chunks(len(images)), desc="whitening", unit="chunk", leave=False, disable=None):
            flat[chunk] = _centered(images[chunk], self.mean).reshape(-1, self.mean.size) @ self.whitening
        return result

    def arrays(self):
        """{name: numpy array}, as the constructor takes them."""
        return {"mean": self.mean, "whitening": self.whitening}


#: {name: fit(train, cache_folder) -> fitted transform}.
PREPROCESSINGS = {"mean-image": MeanImage.fit, "zca": Zca.fit,
                  "zca-original": partial(Zca.fit, regularization=ZCA_ORIGINAL_REGULARIZATION)}


def fit(name, train, cache_folder=None):
    """The transform of that name, fitted on a training set.

    Parameters
    ----------
    name : str
        one of `PREPROCESSINGS`
    train : numpy array
        (images, channels, rows, columns), uint8
    cache_folder : str or None
        where whitening keeps its matrix

    Raises
    ------
    UserError
        if there is none of that name.
    """
    if name not in PREPROCESSINGS:
        raise UserError(f"there is no preprocessing {name!r}; choose one of {', '.join(PREPROCESSINGS)}")
    return PREPROCESSINGS[name](train, cache_folder)


def from_arrays(arrays):
    """The fitted transform whose `arrays()` these are.

    Raises
    ------
    UserError
        if they are those of none.
    """
    for kind, names in ((MeanImage, {"mean"}), (Zca, {"mean", "whitening"})):
        if set(arrays) == names:
            return kind(**arrays)
    raise UserError(f"arrays named {', '.join(sorted(arrays)) or 'nothing'} are of no preprocessing known here")


def _check(images, mean):
    # Another number of channels or another type would broadcast, or be scaled, without an error.
    if images.dtype != np.uint8 or images.shape[1:] != mean.shape:
        raise ValueError(f"images are {images.dtype} of shape {images.shape[1:]}, the training set's were uint8 of "
                         f"shape {mean.shape}")


def _chunks(count):
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def _mean(images):
    return (images.mean(axis=0, dtype=np.float64) / 256).astype(np.float32)


def _centered(images, mean):
    images = images.astype(np.float32)
    images /= 256
    images -= mean
    return images


def _cached_whitening(train, mean, cache_folder, regularization):
    if cache_folder is None:
        return _whitening(train, mean, regularization)
    digest = hashlib.sha256(repr((train.shape, regularization)).encode())
    digest.update(np.ascontiguousarray(train))
    path = os.path.join(cache_folder, f"zca-{digest.hexdigest()[:32]}.npz")
    if os.path.exists(path):
        try:
            kept = files.read_arrays(path)["whitening"]
            if kept.shape == (mean.size, mean.size) and kept.dtype == np.float32:
                return kept
        except (UserError, KeyError):
            pass
        # Damaged: it is computed and written anew.
    whitening = _whitening(train, mean, regularization)
    try:
        os.makedirs(cache_folder, exist_ok=True)
        files.write_arrays(path, {"whitening": whitening})
    except (UserError, OSError) as error:
        print(f"warning: the whitening matrix is not kept for the next time: {error}", file=sys.stderr)
    return whitening


def _whitening(train, mean, regularization):
    """U (S + regularization)^(-1/2) U^T of the covariance U S U^T, float32; sums are float64, a chunk at a time."""
    covariance = np.zeros((mean.size, mean.size))
    for chunk in tqdm(_chunks(len(train)), desc="covariance", unit="chunk", leave=False, disable=None):
        flat = _centered(train[chunk], mean).reshape(-1, mean.size).astype(np.float64)
        covariance += flat.T @ flat
    values, vectors = scipy.linalg.eigh(covariance / len(train), overwrite_a=True, check_finite=False)
    scaled = vectors / np.sqrt(np.maximum(values, 0) + regularization)
    return (scaled @ vectors.T).astype(np.float32)
