"""How Theano compiles its C++ modules: as many at a time as there are cores, and none that its cache could have.

And what is compiled: the same results from any number of threads.

Before Theano asks for a function's modules one after another, those that its cache lacks are compiled in a folder of
our own. When it starts the compiler for one of them, it gets what is there. What cannot be compiled ahead is left to
Theano.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor

__all__ = ["in_blocks", "in_parallel", "once", "without_libpython"]

#: Elements that a thread takes at a time.
BLOCK = 4096
#: {file name of a module: (folder, future of its compilation)}
_ahead = {}


@contextlib.contextmanager
def without_libpython():
    """Makes Theano, whose import is the block, link no module with libpython.

    On Linux none needs it: the executable has the functions. Where Python is linked statically, as uv's is, the library
    is one that the loader does not find, or a second copy of Python.
    """
    import distutils.sysconfig
    variables = distutils.sysconfig.get_config_vars()
    library = variables.get("LDLIBRARY")
    linux = sys.platform.startswith("linux")
    if linux:
        # The import compiles modules already. Theano asks for the name of a library, and gets one that does no harm.
        variables["LDLIBRARY"] = "libm.so"
    try:
        yield
        if linux:
            from theano.gof import cmodule
            cmodule.std_lib_dirs_and_libs.data = [], []
    finally:
        variables["LDLIBRARY"] = library


def once():
    """Mends two faults of Theano 1.0.5 by which each process compiles again what is in the cache."""
    from theano.gof.cc import CLinker
    from theano.gof.op import COp

    cmodule_key = CLinker.cmodule_key_

    def c_code_cache_version(op):
        # Theano's has Python's hash of the same text, which differs from process to process.
        version = zlib.crc32("".join(op.func_codes).encode()),
        return version + ((op.params_type.c_code_cache_version(),) if hasattr(op, "params_type") else ())

    def cmodule_key_(linker, fgraph, *args, **kwargs):
        # Theano takes empty __props__ for the lack of a version.
        key = cmodule_key(linker, fgraph, *args, **kwargs)
        if not key or key[0]:
            return key
        versions = [version for node in linker.schedule(fgraph) for version in (
            node.op.c_code_cache_version_apply(node),
            *(variable.type.c_code_cache_version() for variable in (*node.inputs, *node.outputs)))]
        return tuple(versions) if all(versions) else (), key[1]

    COp.c_code_cache_version = c_code_cache_version
    CLinker.cmodule_key_ = cmodule_key_


def in_blocks():
    """Gives threads whole blocks of the elements that Theano's operations work on. To be called once a process.

    Of equal parts instead, each would end in elements that fill no vector. These are computed by scalar functions,
    whose last bits are others, and the results would depend on the number of threads.
    """
    from theano.tensor.elemwise import Elemwise

    c_all, version_of = Elemwise._c_all, Elemwise.c_code_cache_version_apply
    pragma = "#pragma omp parallel for "

    def _c_all(op, *args, **kwargs):
        return tuple(part.replace(pragma + "if(n>=", f"{pragma}schedule(static, {BLOCK}) if(n>=")
                     for part in c_all(op, *args, **kwargs))

    def c_code_cache_version_apply(op, node):
        version = version_of(op, node)
        return (*version, "in blocks", BLOCK) if version and op.openmp else version

    Elemwise._c_all = _c_all
    Elemwise.c_code_cache_version_apply = c_code_cache_version_apply


def in_parallel(workers):
    """Makes Theano's virtual machines compile with this many compilers at a time. To be called once a process."""
    from theano.gof import cmodule, vm

    run_compiler, make_all = cmodule.output_subprocess_Popen, vm.VM_Linker.make_all

    def compiled_ahead(command, **options):
        place = command[command.index("-o") + 1] if "-o" in command else ""
        folder, future = _ahead.get(os.path.basename(place), (None, None))
        if future and os.path.dirname(place) != folder:
            with contextlib.suppress(Exception):    # then Theano compiles, and reports what is wrong
                future.result()
                shutil.copyfile(os.path.join(folder, os.path.basename(place)), place)
                return b"", b"", 0
        return run_compiler(command, **options)

    def make_all_in_parallel(linker, *args, **kwargs):
        sources = _missing_modules(linker.fgraph.toposort()) if linker.c_thunks else {}
        if len(sources) < 2:
            return make_all(linker, *args, **kwargs)
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(min(workers, len(sources))) as pool:
            try:
                # The longest first, so that none of them is left for the end.
                for name, c_linker in sorted(sources.items(), key=lambda pair: -len(pair[1].get_src_code())):
                    own = os.path.join(folder, name)
                    os.mkdir(own)
                    _ahead[f"{name}.{cmodule.get_lib_extension()}"] = own, pool.submit(_compile, c_linker, own)
                return make_all(linker, *args, **kwargs)
            finally:
                _ahead.clear()
                pool.shutdown(cancel_futures=True)

    cmodule.output_subprocess_Popen = compiled_ahead
    vm.VM_Linker.make_all = make_all_in_parallel


def _missing_modules(nodes):
    """{name: linker with the source} of the modules for the nodes that are not in Theano's cache."""
    from theano.gof import FunctionGraph
    from theano.gof.cc import CLinker, get_module_cache
    from theano.gof.cmodule import get_module_hash

    cache, missing = get_module_cache(), {}
    for node in nodes:
        with contextlib.suppress(Exception):    # has no C code, or is not as others
            node.op.prepare_node(node, storage_map=None, compute_map=None, impl="c")
            linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[])
            key = linker.cmodule_key()
            if key and key not in cache.entry_from_key:
                if get_module_hash(linker.get_src_code(), key) not in cache.module_hash_to_key_data:
                    missing[linker.get_dynamic_module().code_hash] = linker
    return missing


def _compile(linker, folder):
    linker.c_compiler().compile_str(
        linker.get_dynamic_module().code_hash, linker.get_src_code(), folder, linker.header_dirs(),
        linker.lib_dirs(), linker.libraries(), linker.compile_args(), py_module=False)
