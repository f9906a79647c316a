"""How a kernel is declared and chosen, and what the operations in C++ share."""

import contextlib
import functools
import inspect
import os
import sys
import zlib

import theano
from theano.compile import optdb
from theano.gof import OpenMPOp, TopoOptimizer, local_optimizer

__all__ = ["CppOp", "InPlaceOp", "enabled", "in_cpp", "kernel", "plain", "use_plain_graph"]

#: The flag by which a compilation of one of these operations is told from one of Theano's.
STANDARD = "-std=gnu++17"
_names = set()
_plain = set()      # the kernels whose plain graph was asked for
#: The kernels that a GPU has, where Theano has one: see :mod:`nets.kernels.gpu`.
on_gpu = set()


def enabled(name):
    """Whether graphs that are made now have the operations of this name rather than plain ones.

    They need a compiler; and on a GPU, kernels of their own for it, and float32.
    """
    there = theano.config.device == "cpu" or name in on_gpu and theano.config.floatX == "float32"
    return name not in _plain and there and bool(theano.config.cxx)


def use_plain_graph(plain=True):
    """Makes graphs of Theano's own operations alone from now on (or again of those in C++)."""
    global _plain
    _plain = set(_names) if plain else set()


@contextlib.contextmanager
def plain(*names):
    """While active, graphs are made without the kernels of these names (those of the files; none: all).

    Raises
    ------
    ValueError
        if there is no such kernel.
    """
    global _plain
    if not _names.issuperset(names):
        raise ValueError(f"kernels are {', '.join(sorted(_names))}, not {', '.join(names)}")
    before, _plain = _plain, _plain | set(names or _names)
    try:
        yield
    finally:
        _plain = before


def kernel(plain):
    """Declares the decorated function, which makes a C++ operation, as a kernel.

    Parameters
    ----------
    plain : callable
        of the same parameters, makes the plain Theano graph
    """
    def declare(in_cpp):
        name = in_cpp.__module__.rpartition(".")[2]
        _names.add(name)

        @functools.wraps(in_cpp)
        def chosen(*args, **kwargs):
            return (in_cpp if enabled(name) else plain)(*args, **kwargs)
        return chosen
    return declare


def _read(name):
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def in_cpp(value):
    """The C++ literal of a bool."""
    return str(value).lower()


class CppOp(OpenMPOp):
    """An operation whose C++ functions stand in the files `sources` beside this one, after those of outputs.h.

    It runs on one thread where `theano.config.openmp` is False.
    """

    sources = ()
    #: A checksum of the modules that write its C++ code, as they were when they were imported.
    python = 0

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        modules = {kind.__module__ for kind in cls.__mro__} - {__name__}
        modules = sorted(name for name in modules if name.startswith(__package__ + "."))
        cls.python = zlib.crc32("".join(inspect.getsource(sys.modules[name]) for name in modules).encode())

    def c_support_code(self):
        return "".join(map(_read, ("outputs.h", *self.sources)))

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        # There is no Python code: compiled in the modes, too, that run other operations in Python (FAST_COMPILE).
        return super().make_thunk(node, storage_map, compute_map, no_recycling, impl="c")

    def c_compile_args(self):
        return [*super().c_compile_args(), STANDARD]

    def c_code_cache_version(self):
        # Of the files' text, so that no number has to be raised when they change.
        return (zlib.crc32(self.c_support_code().encode()), self.python, self.openmp)


class InPlaceOp(CppOp):
    """An operation that may overwrite inputs by outputs, which saves a large network much of its memory's traffic.

    An optimization (FAST_RUN) makes it do so where nobody else needs those inputs. A subclass has `in_place` among its
    `__props__` and as its last argument, and `overwritten()`.
    """

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        if in_place:
            self.destroy_map = {output: [input] for output, input in self.overwritten().items()}

    def overwritten(self):
        """{number of an output: number of the input that it may overwrite, of the same type}"""
        raise NotImplementedError

    def made_in_place(self):
        """The same operation, in place."""
        values = [getattr(self, name) for name in self.__props__ if name not in ("in_place", "openmp")]
        return type(self)(*values, in_place=True)


@local_optimizer(None, inplace=True)
def local_in_place(node):
    """Lets operations overwrite their inputs; Theano takes that back where something else needs them."""
    if not hasattr(node.op, "made_in_place") or node.op.in_place:
        return False
    return node.op.made_in_place()(*node.inputs, return_list=True)


# After the other optimizations, and where Theano does the same with its own operations.
optdb.register("sparse_vd_in_place", TopoOptimizer(local_in_place, failure_callback=TopoOptimizer.warn_inplace),
               76, "fast_run", "inplace")
