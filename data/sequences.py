"""A text as the examples of a language model: pieces that are read each from its beginning, or streams side by side."""

import numpy as np

from data.dataset import Split
from utils.errors import UserError

__all__ = ["Streams", "pieces", "streams"]


def pieces(tokens, length):
    """The text cut into pieces of `length` tokens; in each, every token but the first is predicted.

    What is left at the end is dropped.

    Parameters
    ----------
    tokens : numpy array
        (tokens,), int32
    length : int

    Returns
    -------
    :class:`data.dataset.Split`
        inputs, targets: (pieces, length - 1)

    Raises
    ------
    UserError
        if there is no whole piece.
    """
    if length < 2:
        raise UserError("a piece of one token predicts nothing: give a larger --length")
    number = len(tokens) // length
    if not number:
        raise UserError(f"a text of {len(tokens)} tokens holds no piece of {length}: give a smaller --length")
    cut = tokens[:number * length].reshape(number, length)
    return Split(np.ascontiguousarray(cut[:, :-1]), np.ascontiguousarray(cut[:, 1:]))


def streams(tokens, number, length):
    """The text as `number` parts side by side, cut into batches of `length` steps, each of which goes on from the last.

    What is left at the end is dropped.

    Parameters and errors as in :func:`pieces`.

    Returns
    -------
    :class:`Streams`
    """
    steps = (len(tokens) - 1) // number // length
    if not steps:
        raise UserError(f"a text of {len(tokens)} tokens does not fill {number} streams of {length}: give a smaller "
                        "--batch-size or --length")

    def arranged(part):
        # Batches one after another, in each a row for each stream.
        by_stream = part[:number * steps * length].reshape(number, steps, length)
        return np.ascontiguousarray(by_stream.transpose(1, 0, 2)).reshape(steps * number, length)

    # Each stream's last token is followed by the next stream's first, as in the text.
    return Streams(arranged(tokens[:-1]), arranged(tokens[1:]))


class Streams(Split):
    """Batches in the text's order; inputs, targets: (batches * streams, steps)."""

    def batches(self, batch_size, generator, augmentation=None):
        """The batches in their order; `batch_size` is the number of streams, and nothing is drawn."""
        for start in range(0, len(self), batch_size):
            yield self.inputs[start:start + batch_size], self.targets[start:start + batch_size]
