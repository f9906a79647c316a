"""Standard normal numbers for a CPU, several times as fast as Theano's own generator.

The generator is counter-based: a number depends on seed, draw and position alone, so that the same numbers come out of
any number of threads. The words of block i in draw n are Philox4x32-10 of counter (i, n) and key `seed`; the
Box-Muller transform makes four normal numbers of them, in float32.
"""

import numpy as np
import theano
import theano.tensor as T
from theano.gof import Apply
from theano.gradient import DisconnectedType
from theano.sandbox.rng_mrg import MRG_RandomStreams

from nets.kernels.base import CppOp, kernel

__all__ = ["normal_stream", "NormalStream", "NormalOp"]

#: Each call of :meth:`NormalStream.normal` has this many draws before it meets the next one's.
DRAWS = 2 ** 40


def normal_stream(seed, name="noise"):
    """A stream of standard normal numbers, as Theano expressions.

    Parameters
    ----------
    seed : int
        of 64 bits; streams of different seeds, and the expressions of one stream, are independent
    name : str
        of the first expression's state; `/1`, `/2`, ... are appended for the later ones'

    Returns
    -------
    :class:`NormalStream`

    Examples
    --------
    >>> import theano
    >>> from nets import kernels
    >>> stream = kernels.normal_stream(seed=1)
    >>> draw = theano.function([], stream.normal((100, 300)))
    >>> first, second = draw(), draw()
    """
    return NormalStream(seed, name)


def _normal(stream, size, dtype, ndim):
    # Theano's generator, made when it is needed, since its seeds are fewer.
    stream.mrg = stream.mrg or MRG_RandomStreams(stream.seed)
    numbers = stream.mrg.normal(size, ndim=ndim, dtype=dtype)
    stream.mrg.state_updates[-1][0].name = stream.next_name()
    return numbers


@kernel(plain=_normal)
def normal(stream, size, dtype, ndim):
    """What :meth:`NormalStream.normal` gives."""
    if dtype != "float32" and theano.config.device != "cpu":
        return _normal(stream, size, dtype, ndim)
    if isinstance(size, (tuple, list)) and not size:
        size = np.zeros(0, "int64")
    size = T.as_tensor_variable(size, ndim=1)
    if ndim is None:
        ndim = T.get_vector_length(size)
    op = NormalOp(dtype, [_is_one(size, axis) for axis in range(ndim)])
    if theano.config.device != "cpu":
        # Not by an optimization: none of its inputs is on the GPU.
        from nets.kernels.gpu.normal import GpuNormal
        op = GpuNormal(op, None)
    first = np.array([stream.seed, stream.calls * DRAWS], "uint64")
    # On the CPU even where Theano would put shared variables on a GPU.
    state = theano.shared(first, stream.next_name(), target="cpu")
    state.tag.target = "cpu"
    state.default_update = state + np.array([0, 1], "uint64")
    return op(state, size)


class NormalStream:
    """See :func:`normal_stream`."""

    def __init__(self, seed, name):
        if not 0 <= seed < 2 ** 64:
            raise ValueError(f"a seed is from 0 to 2**64 - 1, not {seed}")
        self.seed, self.name = int(seed), name
        self.calls = 0
        self.mrg = None

    def next_name(self):
        """The name of the next expression's state."""
        name = f"{self.name}/{self.calls}" if self.calls else self.name
        self.calls += 1
        return name

    def normal(self, size, dtype=None, ndim=None):
        """Numbers from N(0, 1); a function compiled with them draws others each time.

        The state is a shared variable with a `default_update`; in C++, a vector of the seed and the number of the next
        draw.

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
        return normal(self, size, dtype or theano.config.floatX, ndim)


class NormalOp(CppOp):
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

    def c_code(self, node, name, inputs, outputs, sub):
        typenum = f"NPY_{self.dtype.upper()}"
        arguments = f"&{outputs[0]}, {len(self.broadcastable)}, {typenum}, {', '.join(inputs)}"
        return f"if (normal_draw({arguments})) {{ {sub['fail']} }}"


def _is_one(size, axis):
    try:
        return int(T.get_scalar_constant_value(size[axis])) == 1
    except T.NotScalarConstantError:
        return False
