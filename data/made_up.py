"""A small text and small documents, made from a seed: to try the project without a download."""

import numpy as np

from data.dataset import Split
from data.texts import RawDocuments, RawText

__all__ = ["load_text", "load_documents"]

TEXT_CHARACTERS = (48000, 6000, 6000)
DOCUMENT_COUNTS = (800, 200, 200)

# A grammar: a symbol is replaced by one of its lines, the first ones more often; what is no symbol is a word.
_GRAMMAR = {
    "SENTENCE": ("PEOPLE VERB THINGS .", "PEOPLE VERB THINGS and VERB THINGS .", "in PLACE , PEOPLE VERB THINGS ."),
    "PEOPLE": ("the PERSON", "a PERSON", "the ADJECTIVE PERSON"),
    "THINGS": ("the THING", "a ADJECTIVE THING", "the THING of PEOPLE"),
    "PERSON": ("man", "sister", "miller", "nurse", "smith"),
    "THING": ("stone", "lantern", "horn", "sail", "net"),
    "ADJECTIVE": ("small", "silent", "lame", "real"),
    "VERB": ("has", "sees", "lends", "hears"),
    "PLACE": ("the hall", "a tent", "the mill"),
}
_SYLLABLES = ("ba", "do", "ki", "lu", "me", "no", "ra", "si", "ta", "vu")
#: Of each class.
TELLING = (("dreary", "wooden", "stale", "noisy"), ("lively", "tender", "clever", "bright"))


def load_text(data_dir=None):
    """60,000 characters of sentences, one a line: 48,000 to train on, 6,000 each for validation and test.

    There are a few more, so that the last sentence ends. `data_dir` is not used, as nothing is stored.
    """
    generator = np.random.default_rng(0)
    pieces = []
    for characters in TEXT_CHARACTERS:
        lines, length = [], 0
        while length < characters:
            lines.append(" ".join(_expanded("SENTENCE", generator)) + "\n")
            length += len(lines[-1])
        pieces.append("".join(lines))
    return RawText(*pieces)


def _expanded(symbol, generator):
    """The words that a symbol of the grammar becomes."""
    if symbol not in _GRAMMAR:
        return [symbol]
    lines = _GRAMMAR[symbol]
    weights = 1 / np.arange(1, len(lines) + 1)
    line = lines[generator.choice(len(lines), p=weights / weights.sum())]
    return [word for part in line.split() for word in _expanded(part, generator)]


def load_documents(data_dir=None):
    """1,200 documents of 8 to 30 words and two classes: three of the words are of the class, nine in ten times.

    `data_dir` is not used, as nothing is stored.
    """
    generator = np.random.default_rng(0)
    words = [first + second for first in _SYLLABLES for second in _SYLLABLES]
    weights = 1 / np.arange(1, len(words) + 1)
    splits = []
    for count in DOCUMENT_COUNTS:
        labels = generator.permutation(np.arange(count) % 2)
        texts = []
        for label in labels:
            document = list(generator.choice(words, generator.integers(5, 28), p=weights / weights.sum()))
            for _ in range(3):
                telling = TELLING[label if generator.random() < 0.9 else 1 - label]
                document.insert(generator.integers(len(document) + 1), telling[generator.integers(len(telling))])
            texts.append(" ".join(document))
        splits.append(Split(texts, labels))
    return RawDocuments(*splits, num_classes=2)
