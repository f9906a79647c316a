"""What the project's operations in C++ share."""

import os
import zlib

from theano.compile import optdb
from theano.gof import OpenMPOp, TopoOptimizer, local_optimizer

__all__ = ["CppOp", "InPlaceOp", "in_cpp"]


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

    def c_support_code(self):
        return "".join(map(_read, ("outputs.h", *self.sources)))

    def c_compile_args(self):
        return [*super().c_compile_args(), "-std=gnu++17"]

    def c_code_cache_version(self):
        # Of the files' text, so that no number has to be raised when they change.
        return (2, zlib.crc32(self.c_support_code().encode()), self.openmp)


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
    if not isinstance(node.op, InPlaceOp) or node.op.in_place:
        return False
    return node.op.made_in_place()(*node.inputs, return_list=True)


# After the other optimizations, and where Theano does the same with its own operations.
optdb.register("sparse_vd_in_place", TopoOptimizer(local_in_place, failure_callback=TopoOptimizer.warn_inplace),
               76, "fast_run", "inplace")
