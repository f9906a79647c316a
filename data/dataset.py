"""A data set as its files hold it, and as training sees it."""

import hashlib
from collections import namedtuple
from dataclasses import dataclass
from typing import Callable

import numpy as np

from utils.errors import UserError

__all__ = ["Split", "Raw", "Dataset", "with_random_labels", "split_for_validation", "fingerprint", "titled"]


@dataclass(frozen=True)
class Split:
    """Examples to train or to test on; its length is their number.

    Attributes
    ----------
    inputs : numpy array
        (examples, ...); images: (images, channels, rows, columns)
    targets : numpy array
        (examples, ...); class numbers from 0: (images,)
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self):
        return len(self.inputs)

    def num_batches(self, batch_size):
        """How many `batches` there are: an incomplete last one is left out, as in the original."""
        return len(self) // batch_size

    def batches(self, batch_size, generator, augmentation=None):
        """One pass over the examples in a random order, in batches (inputs, targets) of `batch_size`.

        Parameters
        ----------
        batch_size : int
        generator : numpy.random.Generator
            draws the order, and is the source of the augmentation's randomness
        augmentation : callable(inputs, generator) -> inputs, or None
            changes each batch's inputs, see :mod:`data.augmentation`
        """
        order = generator.permutation(len(self))
        for batch in range(self.num_batches(batch_size)):
            chosen = order[batch * batch_size:(batch + 1) * batch_size]
            inputs = self.inputs[chosen]
            yield augmentation(inputs, generator) if augmentation else inputs, self.targets[chosen]


#: What a data set's files hold. train, test : :class:`Split` of images and labels, both uint8; num_classes : int.
Raw = namedtuple("Raw", "train test num_classes")


@dataclass(frozen=True)
class Dataset:
    """A data set, ready for a network.

    Attributes
    ----------
    id : str
        its key in `data.DATASETS`
    name : str
        as it stands in tables, with what was done to it: "mnist (random labels)"
    train, test : :class:`Split`
        inputs float32, targets int32
    num_classes : int
    fingerprint : str
        sha256 of inputs and targets before preprocessing, so that a run can be resumed on the same data only
    transform : callable(uint8 images) -> float32 images
        what was done to the inputs, see :mod:`data.preprocessing`
    augmentation : callable(inputs, generator) -> inputs, or None
        changes training inputs so that they stay what they are; whether to is the training's choice
    """

    id: str
    name: str
    train: Split
    test: Split
    num_classes: int
    fingerprint: str
    transform: Callable
    augmentation: Callable | None = None

    @classmethod
    def of(cls, raw, transform, **attributes):
        """The :class:`Dataset` of a :class:`Raw` one; `attributes` are id, name and augmentation."""
        train, test = (Split(transform(split.inputs), split.targets.astype(np.int32))
                       for split in (raw.train, raw.test))
        return cls(train=train, test=test, num_classes=raw.num_classes,
                   fingerprint=fingerprint(raw.train.inputs, raw.train.targets, raw.test.inputs, raw.test.targets),
                   transform=transform, **attributes)


def with_random_labels(raw, seed):
    """The same images, the training set's labels drawn uniformly at random; the test set stays as it is.

    References
    ----------
    Zhang et al. (2017), Understanding deep learning requires rethinking generalization; Molchanov, Ashukha, Vetrov
    (2017), table 2.
    """
    labels = np.random.default_rng(seed).integers(0, raw.num_classes, len(raw.train), dtype=np.uint8)
    return raw._replace(train=Split(raw.train.inputs, labels))


def split_for_validation(raw, count):
    """The training set without its last `count` images, and these in place of the test set, which nobody sees.

    The images are in no order by class in any of the data sets, so that the last ones are as good as drawn ones.

    Raises
    ------
    UserError
        if no training image is left.
    """
    inputs, targets = raw.train.inputs, raw.train.targets
    if count >= len(inputs):
        raise UserError(f"--validation {count} leaves none of the {len(inputs)} training images")
    return raw._replace(train=Split(inputs[:-count], targets[:-count]), test=Split(inputs[-count:], targets[-count:]))


def titled(name, remarks):
    """A data set's name as it stands in tables: "mnist (random labels)"."""
    return f"{name} ({', '.join(remarks)})" if remarks else name


def fingerprint(*arrays):
    """sha256, in hexadecimal, of arrays with their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
