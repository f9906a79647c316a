"""What is done to images before training. Everything is fitted on the training set and applied to both sets."""

import hashlib
import os
import sys

import numpy as np
import scipy.linalg
from tqdm import tqdm

from utils import files
from utils.errors import UserError

__all__ = ["mean_image", "zca", "names", "ZCA_REGULARIZATION", "ZCA_ORIGINAL_REGULARIZATION"]

#: Added to the eigenvalues of the covariance of pixels / 256.
ZCA_REGULARIZATION = 1e-5
#: The same number, added to those of the covariance of the pixels themselves, as the original does.
ZCA_ORIGINAL_REGULARIZATION = 1e-5 / 256 ** 2
names = ("mean-image", "zca", "zca-original")
_CHUNK = 2000


def mean_image(train, test):
    """Pixels / 256, minus the training set's mean image, as the original does for MNIST.

    Parameters
    ----------
    train, test : numpy array
        (images, channels, rows, columns), uint8

    Returns
    -------
    tuple of numpy array
        both sets, float32
    """
    mean = _mean(train)
    return _centered(train, mean), _centered(test, mean)


def zca(train, test, cache_folder, regularization=ZCA_REGULARIZATION):
    """ZCA whitening of pixels / 256: afterwards the training set's covariance is the identity.

    Parameters
    ----------
    train, test : numpy array
        (images, channels, rows, columns), uint8
    cache_folder : str
        where the whitening matrix is kept, in a file named after the content of the training set
    regularization : float
        added to the eigenvalues of the covariance, so that directions that hardly vary are not blown up

    Returns
    -------
    tuple of numpy array
        both sets, float32

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images, appendix A.
    """
    mean = _mean(train)
    sets = _centered(train, mean), _centered(test, mean)
    whitening = _cached_whitening(train, sets[0], cache_folder, regularization)
    for images in sets:
        flat = images.reshape(len(images), -1)
        for start in tqdm(range(0, len(flat), _CHUNK), desc="whitening", unit="chunk", leave=False, disable=None):
            flat[start:start + _CHUNK] = flat[start:start + _CHUNK] @ whitening
    return sets


def _mean(images):
    return (images.mean(axis=0, dtype=np.float64) / 256).astype(np.float32)


def _centered(images, mean):
    images = images.astype(np.float32)
    images /= 256
    images -= mean
    return images


def _cached_whitening(train, centered, cache_folder, regularization):
    digest = hashlib.sha256(repr((train.shape, regularization)).encode())
    digest.update(np.ascontiguousarray(train))
    path = os.path.join(cache_folder, f"zca-{digest.hexdigest()[:32]}.npz")
    if os.path.exists(path):
        try:
            return files.read_arrays(path)["whitening"]
        except (UserError, KeyError):
            pass  # damaged: it is computed and written anew
    whitening = _whitening(centered.reshape(len(centered), -1), regularization)
    try:
        os.makedirs(cache_folder, exist_ok=True)
        files.write_arrays(path, {"whitening": whitening})
    except (UserError, OSError) as error:
        print(f"warning: the whitening matrix is not kept for the next time: {error}", file=sys.stderr)
    return whitening


def _whitening(flat, regularization):
    """U (S + regularization)^(-1/2) U^T of the covariance U S U^T, float32; sums are float64, a chunk at a time."""
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for start in tqdm(range(0, len(flat), _CHUNK), desc="covariance", unit="chunk", leave=False, disable=None):
        chunk = flat[start:start + _CHUNK].astype(np.float64)
        covariance += chunk.T @ chunk
    values, vectors = scipy.linalg.eigh(covariance / len(flat), overwrite_a=True, check_finite=False)
    scaled = vectors / np.sqrt(np.maximum(values, 0) + regularization)
    return (scaled @ vectors.T).astype(np.float32)
