"""Standard normal numbers for a CPU, several times as fast as Theano's own generator.

The generator is counter-based: a number depends on seed, draw and position alone, so that the same numbers come out of
any number of threads. The words of block i in draw n are Philox4x32-10 of counter (i, n) and key `seed`; the
Box-Muller transform makes four normal numbers of them, in float32.
"""

import math

import numpy as np
import theano
import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType

from nets.kernels.base import CppOp

__all__ = ["NormalStream", "Normal"]

#: Blocks in a chunk, as in the C++ code: number j of a chunk's block i is at place BLOCKS * j + i of the chunk.
BLOCKS = 256
CHUNK = 4 * BLOCKS
#: Each call of :meth:`NormalStream.normal` has this many draws before it meets the next one's.
DRAWS = 2 ** 40


class NormalStream:
    """Standard normal numbers as Theano expressions; takes the place of `MRG_RandomStreams` for them.

    Parameters
    ----------
    seed : int
        of 64 bits; streams of different seeds, and the expressions of one stream, are independent

    Examples
    --------
    >>> import theano
    >>> from nets.kernels.normal import NormalStream
    >>> stream = NormalStream(seed=1)
    >>> draw = theano.function([], stream.normal((100, 300)))
    >>> first, second = draw(), draw()
    """

    def __init__(self, seed):
        if not 0 <= seed < 2 ** 64:
            raise ValueError(f"a seed is from 0 to 2**64 - 1, not {seed}")
        self.seed = int(seed)
        self._num_calls = 0

    def normal(self, size, dtype=None, ndim=None):
        """Numbers from N(0, 1); a function compiled with them draws others each time.

        The state is a shared variable with a `default_update`, a vector of the seed and the number of the next draw.

        Parameters
        ----------
        size : tuple or list of int or Theano int scalar, or Theano int vector
            the shape
        dtype : str or None
            "float32", "float64" (the float32 numbers, cast), or None for floatX
        ndim : int or None
            the length of `size`, needed where Theano cannot tell it

        Returns
        -------
        Theano expression
            a dimension known to be 1 is broadcastable
        """
        if isinstance(size, (tuple, list)) and not size:
            size = np.zeros(0, "int64")
        size = T.as_tensor_variable(size, ndim=1)
        if ndim is None:
            ndim = T.get_vector_length(size)
        op = Normal(dtype or theano.config.floatX, [_is_one(size, axis) for axis in range(ndim)])
        # On the CPU even where Theano would put shared variables on a GPU.
        state = theano.shared(np.array([self.seed, self._num_calls * DRAWS], "uint64"), "normal_state", target="cpu")
        self._num_calls += 1
        state.default_update = state + np.array([0, 1], "uint64")
        return op(state, size)


class Normal(CppOp):
    """Draws numbers from N(0, 1): the state (seed, draw number) and a size to a tensor. See :class:`NormalStream`.

    No number is larger than 6.67 in absolute value, sqrt(2 log 2^32); beyond are 3e-11 of a normal distribution.

    Parameters
    ----------
    dtype : str
        "float32", or "float64" for the same numbers, cast
    broadcastable : sequence of bool
        which dimensions of the result are known to be 1

    References
    ----------
    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10).
    Box, Muller (1958), A note on the generation of random normal deviates.
    """

    __props__ = ("dtype", "broadcastable", "openmp")
    sources = ("normal.cpp",)

    def __init__(self, dtype, broadcastable):
        if dtype not in ("float32", "float64"):
            raise TypeError(f"normal numbers are float32 or float64, not {dtype}")
        super().__init__()
        self.dtype = dtype
        self.broadcastable = tuple(broadcastable)

    def make_node(self, state, size):
        state, size = T.as_tensor_variable(state), T.as_tensor_variable(size)
        if state.type != T.TensorType("uint64", [False]):
            raise TypeError(f"the state is a vector of uint64, not {state.type}")
        if size.ndim != 1 or size.dtype not in T.integer_dtypes:
            raise TypeError(f"the size is a vector of integers, not {size.type}")
        return Apply(self, [state, T.cast(size, "int64")], [T.TensorType(self.dtype, self.broadcastable)()])

    def infer_shape(self, node, input_shapes):
        return [[node.inputs[1][axis] for axis in range(len(self.broadcastable))]]

    def connection_pattern(self, node):
        return [[False], [False]]

    def grad(self, inputs, output_gradients):
        return [DisconnectedType()() for _ in inputs]

    def perform(self, node, inputs, output_storage):
        state, size = inputs
        if len(state) != 2:
            raise ValueError("the state of a normal stream has two elements: seed and draw number")
        ndim = len(self.broadcastable)
        if len(size) != ndim:
            raise ValueError(f"the size has {len(size)} elements, the numbers have {ndim} dimensions")
        if (size < 0).any():
            axis = np.argmax(size < 0)
            raise ValueError(f"negative size {size[axis]} of dimension {axis}")
        numbers = draw(int(state[0]), int(state[1]), math.prod(size.tolist()))
        output_storage[0][0] = numbers.astype(self.dtype).reshape(size)

    def c_code(self, node, name, inputs, outputs, sub):
        typenum = f"NPY_{self.dtype.upper()}"
        arguments = f"&{outputs[0]}, {len(self.broadcastable)}, {typenum}, {', '.join(inputs)}"
        return f"if (normal_draw({arguments})) {{ {sub['fail']} }}"


def draw(seed, number, count):
    """The first `count` numbers of a draw in numpy: the C++ code's up to the last bits, which differ between libraries.

    Returns
    -------
    numpy.ndarray of float32
    """
    chunks = (count + CHUNK - 1) // CHUNK
    words = philox(seed, number, np.arange(chunks * BLOCKS, dtype="uint64"))
    u = (words[0::2] >> 1).astype("int32").astype("float32") * np.float32(2 ** -31) + np.float32(2 ** -32)
    angle = words[1::2].view("int32").astype("float32") * np.float32(math.pi * 2 ** -31)
    radius = np.sqrt(-2 * np.log(u))
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return numbers.reshape(4, chunks, BLOCKS).swapaxes(0, 1).ravel()[:count]


def philox(key, number, blocks):
    """Philox4x32-10 in numpy.

    Parameters
    ----------
    key, number : int
        of 64 bits; `number` is the upper half of the counter
    blocks : numpy.ndarray of uint64
        the lower halves of the counters

    Returns
    -------
    numpy.ndarray of uint32
        of shape (4, len(blocks)), the words of each block
    """
    low, half = np.uint64(2 ** 32 - 1), np.uint64(32)
    x0, x1 = blocks & low, blocks >> half
    x2, x3 = np.full_like(blocks, number & 0xffffffff), np.full_like(blocks, number >> 32)
    key0, key1 = key & 0xffffffff, key >> 32
    for _ in range(10):
        product0, product1 = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1 = (product1 >> half) ^ x1 ^ np.uint64(key0), product1 & low
        x2, x3 = (product0 >> half) ^ x3 ^ np.uint64(key1), product0 & low
        key0, key1 = (key0 + 0x9E3779B9) & 0xffffffff, (key1 + 0xBB67AE85) & 0xffffffff
    return np.stack([x0, x1, x2, x3]).astype("uint32")


def _is_one(size, axis):
    try:
        return int(T.get_scalar_constant_value(size[axis])) == 1
    except T.NotScalarConstantError:
        return False
