"""Data sets: `load` finds, downloads, checks and prepares one of `DATASETS` by its name."""

import os
from dataclasses import dataclass
from typing import Callable

from data import cifar, digits, mnist, preprocessing as _preprocessing
from data.augmentation import PadCropFlip
from data.dataset import Dataset, Split, split_for_validation, with_random_labels
from data.download import data_folder
from data.preprocessing import PREPROCESSINGS
from utils.errors import UserError

__all__ = ["load", "load_raw", "DATASETS", "PREPROCESSINGS", "DatasetSpec", "Dataset", "Split"]


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set is made of.

    Attributes
    ----------
    loader : callable(data_dir, variant) -> :class:`data.dataset.Raw`
    augmentation : callable(inputs, generator) -> inputs
        under which its images stay what they are, see :mod:`data.augmentation`
    preprocessing : str
        one of `PREPROCESSINGS`: the usual one
    """

    loader: Callable
    augmentation: Callable
    preprocessing: str = "mean-image"


# A mirrored digit is no digit; digits of 8x8 pixels fill their images.
_SHIFTED, _HARDLY_SHIFTED, _SHIFTED_AND_MIRRORED = PadCropFlip(4, False), PadCropFlip(1, False), PadCropFlip(4, True)

#: All data sets by name. A new one is a loader and a line here.
DATASETS = {
    "digits": DatasetSpec(digits.load, _SHIFTED),
    "digits-8x8": DatasetSpec(digits.load_8x8, _HARDLY_SHIFTED),
    "digits-8x8-noise": DatasetSpec(digits.load_8x8_noise, _HARDLY_SHIFTED),
    "mnist": DatasetSpec(mnist.load_mnist, _SHIFTED),
    "fashion-mnist": DatasetSpec(mnist.load_fashion_mnist, _SHIFTED),
    "cifar10": DatasetSpec(cifar.load_cifar10, _SHIFTED_AND_MIRRORED, "zca"),
    "cifar100-fine": DatasetSpec(cifar.load_cifar100_fine, _SHIFTED_AND_MIRRORED, "zca"),
    "cifar100-coarse": DatasetSpec(cifar.load_cifar100_coarse, _SHIFTED_AND_MIRRORED, "zca"),
}


def load(name, data_dir=None, preprocessing=None, random_labels=None, variant=None, validation=None):
    """Loads a data set, downloading it if it is on disk nowhere.

    Parameters
    ----------
    name : str
        one of `DATASETS`
    data_dir : str or None
        the folder that holds the data sets' folders; None is the environment variable SPARSEVD_DATA, or
        `data/downloads` in the project
    preprocessing : str or None
        one of `PREPROCESSINGS`; None is the data set's usual one
    random_labels : int or None
        the seed of random labels for the training set; None keeps the genuine ones
    variant : str or None
        what to call files that are on disk and not the official ones; None refuses them
    validation : int or None
        how many of the training set's last images take the place of the test set, to choose hyper-parameters by;
        preprocessing is fitted without them

    Returns
    -------
    :class:`data.dataset.Dataset`
        its `name` tells of the variant, of random labels and of validation

    Raises
    ------
    UserError
        if there is no such data set, or its files are neither on disk nor to be downloaded, or not genuine, or hold
        fewer than `validation` + 1 training images.
    """
    raw, remarks = load_raw(name, data_dir, random_labels, variant, validation)
    spec = DATASETS[name]
    transform = _preprocessing.fit(preprocessing or spec.preprocessing, raw.train.inputs,
                                   os.path.join(data_folder(data_dir), "cache"))
    return Dataset.of(raw, transform, id=name, name=f"{name} ({', '.join(remarks)})" if remarks else name,
                      augmentation=spec.augmentation)


def load_raw(name, data_dir=None, random_labels=None, variant=None, validation=None):
    """The same before preprocessing: a :class:`data.dataset.Raw`, and a list of the remarks that follow its name."""
    if name not in DATASETS:
        raise UserError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}")
    raw = DATASETS[name].loader(data_dir, variant)
    remarks = [variant] if variant else []
    if random_labels is not None:
        raw = with_random_labels(raw, random_labels)
        remarks.append("random labels")
    if validation:
        raw = split_for_validation(raw, validation)
        remarks.append(f"validation {validation}")
    return raw, remarks
