"""Arrays of a network as a stream: positions coded, values as floats or as shared values."""

import math

import numpy as np

from utils.errors import UserError
from utils.export import coding

__all__ = ["ArrayStream", "float_type", "in_range"]


def float_type(values):
    """numpy's name of the float that numbers are kept in."""
    return "<f4" if values == "float32" else "<f2"


def in_range(name, values, dtype):
    """A numpy array of that name as another float, a numpy type; UserError if a number is too large for it."""
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if not np.isfinite(found).all() or (np.abs(values) > np.finfo(dtype).max).any():
        raise UserError(f"{name} has numbers up to {np.abs(values).max():,.0f}, too large for float16 and shared "
                        "values: take float32")
    return found


class ArrayStream:
    """Arrays, written one after another in one of the ways of `coding.VALUES`, or read into `found`.

    Parameters
    ----------
    values : str
        one of `coding.VALUES`
    content : dict or None
        what :meth:`content` gave, to read from; None writes
    """

    def __init__(self, values, content=None):
        self.writing = content is None
        self._stream = coding.Writer() if self.writing else coding.Reader(content["code"])
        self._raw, self._content = [], (content or {}).get("values", b"")
        self._type = None if values.isdigit() else float_type(values)
        self._bits = int(values) if values.isdigit() else None
        self.found = {}

    def content(self):
        """What was written, {name: bytes}: `code`, and `values` of what is not coded if there is any."""
        return {"code": self._stream.bytes(), **({"values": b"".join(self._raw)} if self._raw else {})}

    def selection(self, layer, count, width):
        flags = None
        if self.writing:
            flags = np.isin(np.arange(count), layer["indices"])
        found = self._stream.flags(count, width, flags)
        if not self.writing:
            layer["indices"] = np.flatnonzero(found).tolist()

    def weights(self, name, array, dense):
        """`array` is the array when writing, its shape when reading; the same holds below."""
        outputs_first = None
        if self.writing:
            outputs_first = array.T if dense else array
            outputs_first = outputs_first.reshape(outputs_first.shape[0], outputs_first.shape[1], -1)
            shape = array.shape
        else:
            shape = array
        outputs, inputs, places = (shape[1], shape[0], 1) if dense else (shape[0], shape[1], math.prod(shape[2:]))
        mask = self._stream.positions(outputs, inputs, places, None if outputs_first is None else outputs_first != 0)
        count = int(np.count_nonzero(mask))
        values = outputs_first[mask] if self.writing else None
        if self._bits:
            if count:
                if self.writing:
                    in_range(name, values, np.float16)
                most = 2 ** self._bits
                centers = self._stream.shared(most, coding.shared_values(values, most) if self.writing else None)
                chosen = coding.nearest(centers.astype(np.float64), values) if self.writing else None
                values = centers[self._stream.symbols(count, max(len(centers), 2), chosen)]
            else:
                values = np.empty(0, np.float32)
        else:
            values = self._plain(name, count, values)
        if not self.writing:
            found = np.zeros(mask.shape, np.float32)
            found[mask] = values
            found = found.reshape(outputs, -1)
            self.found[name] = np.ascontiguousarray(found.T) if dense else found.reshape(shape)

    def numbers(self, name, array):
        """Biases and the like; shared values are equally spaced, as there are too few for finding better ones."""
        shape = array.shape if self.writing else array
        if self._bits:
            levels, lowest, step = self._levels(name, array, min(self._bits + 1, 8))
            found = self._stream.symbols(math.prod(shape), 2 ** min(self._bits + 1, 8), levels)
            self.found[name] = (lowest + step * found).astype(np.float32).reshape(shape)
        else:
            self.found[name] = self._plain(name, math.prod(shape), array).reshape(shape)

    def image(self, name, array):
        """The mean image: what a pixel differs from its neighbours, on the left and above; a bit less will do."""
        shape = array.shape if self.writing else array
        if not self._bits or len(shape) == 1:
            return self.numbers(name, array)
        bits = min(self._bits, 7) - 1
        levels, lowest, step = self._levels(name, array, bits)
        if self.writing:
            levels = np.diff(np.diff(levels.reshape(shape), axis=-2, prepend=0), axis=-1, prepend=0).ravel() % 2 ** bits
        found = self._stream.symbols(math.prod(shape), 2 ** bits, levels).reshape(shape).astype(np.int64)
        found = found.cumsum(axis=-1).cumsum(axis=-2) % 2 ** bits
        self.found[name] = (lowest + step * found).astype(np.float32)

    def _levels(self, name, array, bits):
        """Equally spaced levels from the lowest value on: their numbers (None when reading), lowest and step."""
        limits = None
        if self.writing:
            limits = in_range(name, np.array([array.min(), array.max()], np.float32), np.float16)
        lowest, highest = self._stream.floats(2, limits)
        step = (highest - lowest) / np.float32(2 ** bits - 1)
        if not self.writing:
            return None, lowest, step
        if step == 0:
            return np.zeros(array.size, np.int32), lowest, step
        levels = np.clip(np.rint((array.ravel() - lowest) / step), 0, 2 ** bits - 1).astype(np.int32)
        return levels, lowest, step

    def _plain(self, name, count, values):
        if self.writing:
            values = in_range(name, np.asarray(values), self._type).ravel()
            self._raw.append(values.tobytes())
            return values.astype(np.float32)
        size = count * np.dtype(self._type).itemsize
        found, self._content = np.frombuffer(self._content[:size], self._type), self._content[size:]
        if len(found) != count:
            raise ValueError("values")
        return found.astype(np.float32)
