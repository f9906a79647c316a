"""How texts become tokens, for those who prepare them to train on and those who read them to predict."""

import re

import numpy as np

__all__ = ["UNKNOWN", "SPECIAL", "PADDING_ID", "START_ID", "UNKNOWN_ID", "WORD", "END_OF_LINE", "line_words", "padded"]

#: What stands for tokens without an id of their own; Penn Treebank has it already.
UNKNOWN = "<unk>"
#: The first ids of documents: padding, the start of each document, and words without an id of their own.
SPECIAL = ("<pad>", "<start>", UNKNOWN)
PADDING_ID, START_ID, UNKNOWN_ID = range(3)
#: What a word of documents is.
WORD = r"\w+"
#: What ends a line, in texts of words.
END_OF_LINE = "<eos>"


def line_words(text, pattern):
    """The words of a text, a list of str, with an `END_OF_LINE` after each line; `pattern` is a word's."""
    return [word for line in text.removesuffix("\n").split("\n") for word in (*re.findall(pattern, line), END_OF_LINE)]


def padded(documents, length):
    """(documents, length), int32: the start, then the first ids; zeros before them where there are too few.

    Parameters
    ----------
    documents : list of numpy array
        ids of words
    length : int
    """
    inputs = np.full((len(documents), length), PADDING_ID, np.int32)
    for row, ids in zip(inputs, documents):
        ids = ids[:length - 1]
        row[length - len(ids) - 1] = START_ID
        row[length - len(ids):] = ids
    return inputs
