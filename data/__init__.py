"""Data sets by name, found, downloaded, checked and prepared: images (`load`), texts and labelled documents."""

import os
from dataclasses import dataclass
from typing import Callable

from data import ag_news, bible, cifar, digits, imdb, made_up, mnist, penn_treebank, preprocessing as _preprocessing
from data import reviews
from data.augmentation import PadCropFlip
from data.dataset import Dataset, Split, split_for_validation, titled, with_random_labels
from data.download import data_folder
from data.preprocessing import PREPROCESSINGS
from data.texts import LENGTH, VOCABULARY, Documents, LineWords, Text
from utils.errors import UserError

__all__ = ["load", "load_raw", "load_text", "load_documents", "fetch",
           "DATASETS", "TEXTS", "DOCUMENTS", "PREPROCESSINGS",
           "DatasetSpec", "TextSpec", "Dataset", "Text", "Documents", "Split"]


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


@dataclass(frozen=True)
class TextSpec:
    """Where a text comes from.

    Attributes
    ----------
    loader : callable(data_dir) -> :class:`data.texts.RawText`
    words : callable(str) -> list of str
        splits it into words
    """

    loader: Callable
    words: Callable = LineWords()


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

#: Texts for language models, by name.
TEXTS = {
    "made-up": TextSpec(made_up.load_text),
    "bible": TextSpec(bible.load, LineWords(r"[\w']+|[^\w\s]")),
    "ptb": TextSpec(penn_treebank.load),
}

#: Documents to be classified, by name: callable(data_dir) -> :class:`data.texts.RawDocuments`.
DOCUMENTS = {
    "made-up": made_up.load_documents,
    "reviews": reviews.load,
    "imdb": imdb.load,
    "ag-news": ag_news.load,
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
        the seed of random labels for the training set, not for images held out of it; None keeps the genuine ones
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
    return Dataset.of(raw, transform, id=name, name=titled(name, remarks), augmentation=spec.augmentation)


def load_raw(name, data_dir=None, random_labels=None, variant=None, validation=None):
    """The same before preprocessing: a :class:`data.dataset.Raw`, and a list of the remarks that follow its name."""
    if name not in DATASETS:
        raise UserError(f"there is no data set {name!r}; choose one of {', '.join(DATASETS)}")
    raw = DATASETS[name].loader(data_dir, variant)
    remarks = [variant] if variant else []
    if validation:
        raw = split_for_validation(raw, validation)
    if random_labels is not None:
        raw = with_random_labels(raw, random_labels)
        remarks.append("random labels")
    if validation:
        remarks.append(f"validation {validation}")
    return raw, remarks


def load_text(name, data_dir=None, tokens="characters", vocabulary=None, part=None):
    """Loads a text for a language model.

    Parameters
    ----------
    name : str
        one of `TEXTS`
    data_dir : str or None
        as in :func:`load`
    tokens : str
        "characters" or "words"
    vocabulary : int or None
        how many of the training text's most frequent tokens keep an id of their own; None: all
    part : float or None
        which share of the training text is taken, from its start, above 0; None: all

    Returns
    -------
    :class:`data.texts.Text`
        its `name` tells of words, vocabulary and part

    Raises
    ------
    UserError
        if there is no such text, its files are neither on disk nor to be downloaded, or not genuine, or a parameter is
        out of range.
    """
    if name not in TEXTS:
        raise UserError(f"there is no text {name!r}; choose one of {', '.join(TEXTS)}")
    spec = TEXTS[name]
    return Text.of(spec.loader(data_dir), spec.words, tokens, vocabulary, part, id=name, name=name)


def load_documents(name, data_dir=None, vocabulary=VOCABULARY, length=LENGTH):
    """Loads documents to be classified.

    Parameters
    ----------
    name : str
        one of `DOCUMENTS`
    data_dir : str or None
        as in :func:`load`
    vocabulary : int or None
        how many of the training documents' most frequent words keep an id of their own; None: all that more than one
        of them has
    length : int
        tokens of a document: its start and its first words

    Returns
    -------
    :class:`data.texts.Documents`
        its `name` tells of another vocabulary or length than usual

    Raises
    ------
    UserError
        as in :func:`load_text`.
    """
    if name not in DOCUMENTS:
        raise UserError(f"there are no documents {name!r}; choose one of {', '.join(DOCUMENTS)}")
    return Documents.of(DOCUMENTS[name](data_dir), vocabulary, length, id=name, name=name)


def fetch(name, data_dir=None, variant=None):
    """Makes sure that the files of a data set, text or documents are there, downloading them if need be.

    Raises
    ------
    UserError
        if there is nothing of that name, or its files are not to be had.
    """
    if name in DATASETS:
        load_raw(name, data_dir, variant=variant)
    # Of one name in both, none has files.
    elif name in TEXTS:
        TEXTS[name].loader(data_dir)
    elif name in DOCUMENTS:
        DOCUMENTS[name](data_dir)
    else:
        known = ", ".join(dict.fromkeys([*DATASETS, *TEXTS, *DOCUMENTS]))
        raise UserError(f"there is no data set {name!r}; choose one of {known}")
