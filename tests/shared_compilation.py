"""What one process of the tests compiles, the others need not: importing this has Theano look there first.

Each process has a cache of its own, for Theano locks the whole of it while one module compiles. Here modules are locked
one by one. Theano's own modules are optimized little (-O1), which spares a third of g++'s time; this project's are
compiled as for users.
"""

import fcntl
import hashlib
import os
import shutil

from theano.gof import cmodule

from nets.kernels.base import STANDARD

FOLDER = os.path.expanduser(os.environ["SHARED_COMPILATION"])
_compile = cmodule.GCC_compiler.compile_str


def _compile_once(module_name, src_code, location=None, include_dirs=None, lib_dirs=None, libs=None, preargs=None,
                  py_module=True, hide_symbols=True):
    preargs = list(preargs or [])
    if STANDARD not in preargs:
        preargs.append("-O1")
    arguments = include_dirs, lib_dirs, libs, preargs, py_module, hide_symbols
    key = hashlib.sha256(repr((module_name, src_code, cmodule.config.cxx, *arguments)).encode()).hexdigest()
    path, library = os.path.join(FOLDER, f"{key}.so"), os.path.join(location, f"{module_name}.so")
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, f"{key}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            module = _compile(module_name, src_code, location, *arguments)
            shutil.copy(library, f"{path}.new")
            os.replace(f"{path}.new", path)
            return module
    shutil.copy(path, library)
    with open(os.path.join(location, "mod.cpp"), "w") as file:      # which Theano's cache reads
        file.write(src_code)
    return cmodule.dlimport(library) if py_module else None


cmodule.GCC_compiler.compile_str = staticmethod(_compile_once)
