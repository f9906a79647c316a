"""Texts and labelled documents as numbers: what language models and classifiers of texts learn from.

A loader hands over strings, split into training, validation and test; here they become ids of characters or words. Ids
depend on the training text alone: the same files give the same ids, whatever the order of a folder or a set.
"""

import re
from collections import Counter, namedtuple
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from data.dataset import Split, fingerprint, titled
from utils.errors import UserError
from utils.tokens import SPECIAL, UNKNOWN, UNKNOWN_ID, WORD, line_words, padded

__all__ = ["Text", "Documents", "RawText", "RawDocuments", "LineWords", "shuffled", "VOCABULARY", "LENGTH"]

_LEFT_OUT = -1
#: Words and tokens of documents, as the authors have them for IMDB.
VOCABULARY, LENGTH = 20000, 200

#: What a text's files hold. train, valid, test : str.
RawText = namedtuple("RawText", "train valid test")
#: What the files of documents hold. train, valid, test : :class:`data.dataset.Split` of a list of str and an array of
#: class numbers; num_classes : int.
RawDocuments = namedtuple("RawDocuments", "train valid test num_classes")

_SHARES = {2: "a half", 3: "a third", 4: "a quarter", 5: "a fifth", 10: "a tenth", 20: "a twentieth"}


@dataclass(frozen=True)
class Text:
    """One long text for a language model.

    Attributes
    ----------
    id : str
        its key in `data.TEXTS`
    name : str
        as it stands in tables, with what was done to it: "bible (a tenth)"
    train, valid, test : numpy array
        (tokens,), int32: ids in reading order; an experiment puts examples made of them in their places
    vocabulary : tuple of str
        id -> token, by falling count in the training text, then by code point; `UNKNOWN` comes last where a token of
        any of the three has no id and the text has no `UNKNOWN` of its own
    fingerprint : str
        sha256 of ids and vocabulary, so that a run can be resumed on the same text only
    """

    id: str
    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: tuple
    fingerprint: str

    @property
    def num_classes(self):
        """How many tokens have an id: the next one is one of them."""
        return len(self.vocabulary)

    @classmethod
    def of(cls, raw, words, tokens="characters", vocabulary=None, part=None, id="", name=""):
        """The :class:`Text` of a :class:`RawText`; parameters as in `data.load_text`.

        Parameters
        ----------
        words : callable(str) -> list of str
            splits the text into words
        name : str
            before what is added to it here
        """
        if tokens not in ("characters", "words"):
            raise UserError(f"there are no tokens {tokens!r}; choose one of characters, words")
        if part is not None and not 0 < part <= 1:
            raise UserError(f"a part of the training text is above 0 and at most 1, not {part}")
        train, valid, test = (list(text) if tokens == "characters" else words(text) for text in raw)
        if part is not None:
            train = train[:round(part * len(train))]
        for split, title in ((train, "training"), (valid, "validation"), (test, "test")):
            if not split:
                raise UserError(f"the {title} text of {name} has no {tokens}")
        known = _most_frequent(Counter(train), vocabulary)
        if UNKNOWN not in known and not set().union(train, valid, test) <= set(known):
            known.append(UNKNOWN)
        ids = {token: number for number, token in enumerate(known)}
        unknown = ids.get(UNKNOWN)
        arrays = [np.array([ids.get(token, unknown) for token in split], np.int32) for split in (train, valid, test)]
        remarks = ["words"] if tokens == "words" else []
        if vocabulary is not None:
            remarks.append(_vocabulary_remark(vocabulary))
        if part is not None and part < 1:
            remarks.append(_share(part))
        return cls(id, titled(name, remarks), *arrays, tuple(known), fingerprint(*arrays, _as_array(known)))


@dataclass(frozen=True)
class Documents:
    """Documents that belong to classes.

    Attributes
    ----------
    id : str
        its key in `data.DOCUMENTS`
    name : str
        as it stands in tables, with what was done to it: "reviews (100 tokens)"
    train, valid, test : :class:`data.dataset.Split`
        inputs: (documents, length), int32: `START_ID`, then ids of words, cut off at the end, with 0 before them where
        there are fewer; targets: (documents,), int32
    vocabulary : tuple of str
        id -> token: `SPECIAL`, then words by falling count in the training documents, then by code point
    num_classes : int
    fingerprint : str
        sha256 of inputs, targets and vocabulary
    """

    id: str
    name: str
    train: Split
    valid: Split
    test: Split
    vocabulary: tuple
    num_classes: int
    fingerprint: str

    @classmethod
    def of(cls, raw, vocabulary=VOCABULARY, length=LENGTH, id="", name=""):
        """The :class:`Documents` of :class:`RawDocuments`; parameters as in `data.load_documents`.

        Words are what stands between non-word characters. As in the authors' code, a word that one training document
        alone has is left out of all documents, and those that are not among the most frequent become unknown.
        """
        if length < 2:
            raise UserError(f"documents of {length} tokens hold no word: a start and a word are the least")
        for split, title in zip(raw, ("training", "validation", "test")):
            if not split.inputs:
                raise UserError(f"{name} has no {title} documents")
        # Numbers in the words' place: as strings, those of the larger data sets take a gigabyte.
        numbers = {}
        train, valid, test = ([np.array([numbers.setdefault(word, len(numbers)) for word in re.findall(WORD, text)],
                                        np.int32) for text in split.inputs] for split in raw[:3])
        words = list(numbers)
        counts, num_holders = (np.bincount(np.concatenate(found), minlength=len(words))
                               for found in (train, [np.unique(document) for document in train]))
        common = {words[number]: counts[number] for number in np.flatnonzero(num_holders > 1)}
        known = _most_frequent(common, vocabulary)
        ids = np.full(len(words), _LEFT_OUT, np.int32)
        ids[[numbers[word] for word in common]] = UNKNOWN_ID
        ids[[numbers[word] for word in known]] = np.arange(len(SPECIAL), len(SPECIAL) + len(known))
        splits = [Split(padded([found[found != _LEFT_OUT] for found in map(ids.__getitem__, documents)], length),
                        np.asarray(split.targets, np.int32)) for documents, split in zip((train, valid, test), raw)]
        remarks = [_vocabulary_remark(vocabulary)] if vocabulary != VOCABULARY else []
        if length != LENGTH:
            remarks.append(f"{length} tokens")
        tokens = (*SPECIAL, *known)
        arrays = [array for split in splits for array in (split.inputs, split.targets)]
        return cls(id, titled(name, remarks), *splits, tokens, raw.num_classes,
                   fingerprint(*arrays, _as_array(tokens)))


class LineWords:
    """Splits a text into words, with a token after each line, see :func:`utils.tokens.line_words`.

    Parameters
    ----------
    pattern : str
        regular expression of a word
    """

    def __init__(self, pattern=r"\S+"):
        self.pattern = pattern

    def __call__(self, text):
        return line_words(text, self.pattern)


def shuffled(texts, labels, cuts, seed=0):
    """Documents in a random order, cut into pieces.

    Parameters
    ----------
    texts : list of str
    labels : sequence of int
    cuts : sequence of int
        where the second piece begins, and the following ones
    seed : int
        of numpy's RandomState, whose permutation is the order

    Returns
    -------
    list of :class:`data.dataset.Split`
    """
    order = np.random.RandomState(seed).permutation(len(texts))
    labels = np.asarray(labels)
    return [Split([texts[number] for number in chosen], labels[chosen]) for chosen in np.split(order, cuts)]


def _most_frequent(counts, vocabulary):
    if vocabulary is not None and vocabulary < 1:
        raise UserError(f"a vocabulary of {vocabulary} holds nothing")
    return sorted(counts, key=lambda token: (-counts[token], token))[:vocabulary]


def _as_array(tokens):
    """The tokens as bytes; no token holds a zero."""
    return np.frombuffer("\0".join(tokens).encode(), np.uint8)


def _vocabulary_remark(vocabulary):
    return "whole vocabulary" if vocabulary is None else f"vocabulary {vocabulary}"


def _share(part):
    share = Fraction(part).limit_denominator(1000)
    return _SHARES[share.denominator] if share.numerator == 1 and share.denominator in _SHARES else f"{100 * part:g} %"
