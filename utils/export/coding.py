"""Positions and values of weights as a stream of bits: the models of what is likely; the coder is constriction's.

Encoder and decoder run the same functions, one of them with what is to be written, so that both see the same numbers.
All models are of whole counts and of products and quotients, which every machine computes alike.
"""

import numpy as np

from utils.export.optional import require

__all__ = ["Writer", "Reader", "shared_values", "nearest", "VALUES"]

#: What `values` may be: how numbers are kept. A number stands for shared values of so many bits.
VALUES = ("float32", "float16", "4", "5", "6", "7", "8")
_PRIOR = 2.0        # observations that the density of the whole array counts as
_LEAST = 1 / 4096   # what no probability falls below


class _Stream:
    """What writing and reading have in common; `_code(model, symbols, count, *parameters)` returns the symbols."""

    def number(self, value=None):
        """A whole number below 2^32."""
        model = self._models.Uniform(2 ** 16)
        symbols = None if value is None else np.array([value >> 16, value & 0xffff], np.int32)
        high, low = self._code(model, symbols, 2)
        return int(high) << 16 | int(low)

    def floats(self, count, values=None):
        """Numbers in float16, bit by bit; float32 is returned."""
        bits = None if values is None else np.asarray(values, np.float16).view(np.uint16).astype(np.int32)
        symbols = self._code(self._models.Uniform(2 ** 16), bits, count)
        return np.asarray(symbols).astype(np.uint16).view(np.float16).astype(np.float32)

    def symbols(self, count, size, symbols=None):
        """Whole numbers below `size`, by how often each of them came before."""
        counts, found, start, step = np.ones(size, np.int64), np.empty(count, np.int32), 0, 16
        while start < count:
            part = slice(start, min(start + step, count))
            model = self._models.Categorical(counts / counts.sum(), perfect=False)
            found[part] = self._code(model, None if symbols is None else symbols[part], part.stop - start)
            counts += 4 * np.bincount(found[part], minlength=size)
            start, step = part.stop, min(2 * step, 4096)
        return found

    def shared(self, most, centers=None):
        """At most `most` numbers in rising order, float32: which points they are of a grid eight times as fine."""
        grid = 4 * most
        scale = self.floats(1, None if centers is None else [_above(np.abs(centers).max())])[0]
        chosen = None
        if centers is not None:
            chosen = np.zeros(2 * grid + 1, np.int32)
            chosen[np.rint(np.asarray(centers, np.float64) / float(scale or 1) * grid).astype(int) + grid] = 1
        chosen = self._code(self._models.Bernoulli(perfect=False), chosen, 2 * grid + 1, np.full(2 * grid + 1, 0.125))
        return ((np.flatnonzero(chosen) - grid) * (float(scale) / grid)).astype(np.float32)

    def flags(self, count, width, flags=None):
        """Whether each of `count` pixels is used, by its neighbours on the left and above."""
        found, counts = np.zeros(count + width, np.int32), np.ones((4, 2), np.int64)
        model = self._models.Bernoulli(perfect=False)
        for index in range(width, count + width):
            context = 2 * found[index - 1] + found[index - width]
            probability = np.array([counts[context, 1] / counts[context].sum()])
            given = None if flags is None else np.array([flags[index - width]], np.int32)
            found[index] = self._code(model, given, 1, probability)[0]
            counts[context, found[index]] += 1
        return found[width:].astype(bool)

    def positions(self, outputs, inputs, places, mask=None):
        """Which weights there are; bool, (outputs, inputs, places).

        A weight is as likely as the whole array is dense, times how much more weights its output, its input and its
        place in the filter had so far than that would make.
        """
        cells = inputs * places
        total = self.number(None if mask is None else int(mask.sum()))
        density = min(max(total, 1) / (outputs * cells), 1.0)
        found = np.zeros((outputs, inputs, places), bool)
        by_input, by_place = np.zeros((inputs, 1), np.int64), np.zeros((1, places), np.int64)
        model = self._models.Bernoulli(perfect=False)
        for output in range(outputs):
            expected = density * output
            likely = (by_input + _PRIOR) / (expected * places + _PRIOR)
            likely = (likely * ((by_place + _PRIOR) / (expected * inputs + _PRIOR))).ravel() * density
            row, seen, start, step = found[output].ravel(), 0, 0, 8
            # Whole numbers, so that their sum does not depend on its order.
            weights = np.rint(np.minimum(likely, 1.0) * 2 ** 20).astype(np.int64)
            passed = 0
            while start < cells:
                part = slice(start, min(start + step, cells))
                more = (seen + _PRIOR) / (passed / 2 ** 20 + _PRIOR)
                probabilities = np.minimum(np.maximum(likely[part] * more, _LEAST), 1 - _LEAST)
                given = None if mask is None else mask[output].ravel()[part].astype(np.int32)
                row[part] = self._code(model, given, part.stop - start, probabilities)
                seen += int(row[part].sum())
                passed += int(weights[part].sum())
                start, step = part.stop, min(2 * step, 1024)
            found[output] = row.reshape(inputs, places)
            by_input += found[output].sum(axis=1, keepdims=True)
            by_place += found[output].sum(axis=0, keepdims=True)
        return found


class Writer(_Stream):
    """Encodes; the methods take what they return."""

    def __init__(self):
        stream = require("constriction").stream
        self._models, self._encoder = stream.model, stream.queue.RangeEncoder()

    def _code(self, model, symbols, count, *parameters):
        if count:
            self._encoder.encode(np.ascontiguousarray(symbols, np.int32), model, *parameters)
        return symbols

    def bytes(self):
        """All that was written."""
        return self._encoder.get_compressed().astype("<u4").tobytes()


class Reader(_Stream):
    """Decodes.

    Parameters
    ----------
    content : bytes
        of :meth:`Writer.bytes`
    """

    def __init__(self, content):
        stream = require("constriction").stream
        self._models = stream.model
        self._decoder = stream.queue.RangeDecoder(np.frombuffer(content, "<u4").astype(np.uint32))

    def _code(self, model, symbols, count, *parameters):
        if not count:
            return np.empty(0, np.int32)
        return self._decoder.decode(model, *(parameters or (count,)))


def shared_values(values, size, rounds=100):
    """At most `size` numbers that can take the place of many: k-means in one dimension.

    Parameters
    ----------
    values : numpy array
        (count,), at least one
    size : int

    Returns
    -------
    numpy array
        float64, in rising order
    """
    values = np.asarray(values, np.float64)
    centers = np.unique(values)
    if len(centers) <= size:
        return centers
    centers = np.linspace(centers[0], centers[-1], size)
    for _ in range(rounds):
        chosen = nearest(centers, values)
        counts = np.bincount(chosen, minlength=size)
        moved = np.sort(np.where(counts > 0, np.bincount(chosen, values, size) / np.maximum(counts, 1), centers))
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def nearest(centers, values):
    """Which of the centers, in rising order, is nearest to each value; int32."""
    return np.searchsorted((centers[1:] + centers[:-1]) / 2, values).astype(np.int32)


def _above(value):
    """The float16 that is no smaller."""
    found = np.float16(value)
    return found if found >= value else np.nextafter(found, np.float16(np.inf))
