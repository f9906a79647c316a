"""What the project's operations in C++ share."""

import os
import zlib

from theano.gof import OpenMPOp

__all__ = ["CppOp"]


def _read(name):
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


class CppOp(OpenMPOp):
    """An operation whose C++ functions stand in the file `source` beside this one.

    It runs on one thread where `theano.config.openmp` is False.
    """

    source = None

    def c_support_code(self):
        return _read("outputs.h") + _read(self.source)

    def c_compile_args(self):
        return [*super().c_compile_args(), "-std=gnu++17"]

    def c_code_cache_version(self):
        # Of the files' text, so that no number has to be raised when they change.
        return (1, zlib.crc32(self.c_support_code().encode()), self.openmp)
