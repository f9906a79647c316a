"""Data sets: `load` finds, downloads, checks and prepares one by its name."""

import os

from data import cifar, digits, mnist
from data import preprocessing as _preprocessing
from data.dataset import Dataset, prepare, split_for_validation, with_random_labels
from data.download import data_folder
from utils.errors import UserError

__all__ = ["load", "names", "preprocessings", "Dataset"]

_LOADERS = {"digits": digits.load, "digits-8x8": digits.load_8x8, "digits-8x8-noise": digits.load_8x8_noise,
            "mnist": mnist.load_mnist, "fashion-mnist": mnist.load_fashion_mnist,
            "cifar10": cifar.load_cifar10, "cifar100-fine": cifar.load_cifar100_fine,
            "cifar100-coarse": cifar.load_cifar100_coarse}

#: The names that `load` knows.
names = tuple(_LOADERS)
#: How images can be prepared.
preprocessings = _preprocessing.names


def load(name, data_dir=None, preprocessing="mean-image", random_labels=None, variant=None, validation=None):
    """Loads a data set, downloading it if it is on disk nowhere.

    Parameters
    ----------
    name : str
        one of `names`
    data_dir : str or None
        the folder that holds the data sets' folders; None is the environment variable SPARSEVD_DATA, or
        `data/downloads` in the project
    preprocessing : str
        one of `preprocessings`
    random_labels : int or None
        the seed of random labels for the training set; None keeps the genuine ones
    variant : str or None
        what to call files that are on disk and not the official ones; None refuses them
    validation : int or None
        how many of the training set's last images take the place of the test set, to choose hyper-parameters by

    Returns
    -------
    :class:`data.dataset.Dataset`
        its `name` tells of the variant, of random labels and of validation

    Raises
    ------
    UserError
        if there is no such data set, or its files are neither on disk nor to be downloaded, or not genuine, or fewer than `validation` + 1
        images.
    """
    if name not in _LOADERS:
        raise UserError(f"there is no data set {name!r}; choose one of {', '.join(names)}")
    raw = _LOADERS[name](data_dir, variant)
    remarks = [variant] if variant else []
    if random_labels is not None:
        raw = with_random_labels(raw, random_labels)
        remarks.append("random labels")
    if validation:
        raw = split_for_validation(raw, validation)
        remarks.append(f"validation {validation}")
    label = f"{name} ({', '.join(remarks)})" if remarks else name
    return prepare(label, raw, preprocessing, os.path.join(data_folder(data_dir), "cache"))
