"""What the operations on a GPU have in common."""

import functools
import os
import zlib

import theano.tensor as T
from theano.gof import Apply, Op
from theano.gpuarray.basic_ops import (GpuKernelBase, Kernel, as_gpuarray_variable, gpu_contiguous,
                                       gpuarray_helper_inc_dir)
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2
from theano.gpuarray.type import GpuArrayType, get_context, gpu_context_type

__all__ = ["GpuOp", "Launch", "THREADS", "lifted"]

#: Of a block.
THREADS = 256
#: Blocks that share a long array; each thread takes several elements.
MOST_BLOCKS = 1024

#: For each kernel: the element that a thread begins with and how many it skips to its next one; SUM(x), the sum of a
#: block's numbers, which ends in sums[0].
PRELUDE = "\n".join((
    '#include "cluda.h"', f"#define FIRST (GID_0 * {THREADS} + LID_0)", f"#define STRIDE (GDIM_0 * {THREADS})",
    f"#define REACHES ga_uint reach = {THREADS // 2}; reach > 0; reach /= 2",
    "#define SHARE_OUT if (LID_0 < reach) sums[LID_0] += sums[LID_0 + reach]; local_barrier();",
    "#define SUM(x) sums[LID_0] = x; local_barrier(); for (REACHES) { SHARE_OUT }", ""))


class Launch:
    """A kernel with the arguments that it is started with.

    Parameters
    ----------
    name : str
    body : str
        its code, between the braces
    arrays : dict
        {name in the kernel: C expression of the PyGpuArrayObject}, of float32
    blocks : str
        C expression
    numbers : dict
        {name in the kernel: (dtype, C expression)}
    """

    def __init__(self, name, body, arrays, blocks, numbers):
        self.name, self.body, self.arrays, self.blocks, self.numbers = name, body, arrays, blocks, numbers

    def kernel(self, objvar):
        """Theano's description of it."""
        # Here, so that a machine without pygpu can look at this module.
        from pygpu.gpuarray import SIZE, GpuArray
        ctypes = {"uint64": "ga_ulong", "uint32": "ga_uint", "float32": "float"}
        arguments = ", ".join([*(f"GLOBAL_MEM float *{name}, ga_size {name}_offset" for name in self.arrays),
                               *(f"{ctypes[dtype]} {name}" for name, (dtype, _) in self.numbers.items())])
        shifts = "\n".join(f"{name} = (GLOBAL_MEM float *)((GLOBAL_MEM char *){name} + {name}_offset);"
                           for name in self.arrays)
        code = f"{PRELUDE}KERNEL void {self.name}({arguments}) {{\n{shifts}\n{self.body}\n}}"
        params = [GpuArray, SIZE] * len(self.arrays)
        return Kernel(code=code, name=self.name, params=[*params, *(dtype for dtype, _ in self.numbers.values())],
                      flags=Kernel.get_flags("float32"), objvar=objvar)

    def call(self, objvar, fail):
        """C++ code that starts it."""
        arguments = ", ".join([*(f"{array}->ga.data, {array}->ga.offset" for array in self.arrays.values()),
                               *(f"(npy_{dtype})({value})" for dtype, value in self.numbers.values())])
        return f"""
        {{
            size_t blocks = {self.blocks}, threads = {THREADS};
            int error = blocks ? {self.name}_call(1, &blocks, &threads, 0, {arguments}) : GA_NO_ERROR;
            if (error != GA_NO_ERROR) {{
                PyErr_Format(PyExc_RuntimeError, "the kernel {self.name} does not start: %s",
                             GpuKernel_error(&{objvar}, error));
                {fail}
            }}
        }}"""


@functools.cache
def _checksum():
    """Of this folder's text, so that no version has to be raised when it changes."""
    folder, found = os.path.dirname(__file__), 0
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".py")):
        with open(os.path.join(folder, name), "rb") as file:
            found = zlib.crc32(file.read(), found)
    return found


class GpuOp(GpuKernelBase, Op):
    """An operation of nets/kernels/ on a GPU: float32, the same inputs, outputs and results up to rounding.

    A subclass has `launches(node, inputs, outputs)`, a list of :class:`Launch`.

    Parameters
    ----------
    op : :class:`nets.kernels.base.CppOp`
        the one for the CPU
    context_name : str or None
        the GPU, as Theano names it
    """

    __props__ = ("op", "context_name")
    params_type = gpu_context_type
    #: The numbers of the inputs that stay in the host's memory: numbers that kernels are started with.
    HOST = ()
    #: The lengths of scratch arrays, C expressions by name.
    SCRATCH = {}

    def __init__(self, op, context_name):
        self.op, self.context_name = op, context_name
        self.destroy_map = dict(getattr(op, "destroy_map", {}))
        #: As of :class:`nets.kernels.base.InPlaceOp`; True, too, where nothing can be made in place.
        self.in_place = getattr(op, "in_place", True)

    def made_in_place(self):
        return type(self)(self.op.made_in_place(), self.context_name)

    def get_params(self, node):
        return get_context(self.context_name)

    def make_node(self, *inputs):
        plain = self.op.make_node(*map(T.as_tensor_variable, inputs))
        inputs = [plain.inputs[number] if number in self.HOST
                  else gpu_contiguous(as_gpuarray_variable(given, self.context_name))
                  for number, given in enumerate(inputs)]
        return Apply(self, inputs, [GpuArrayType(output.dtype, output.broadcastable, self.context_name)()
                                    for output in plain.outputs])

    def infer_shape(self, node, shapes):
        return self.op.infer_shape(node, shapes)

    def c_headers(self):
        return [*super().c_headers(), "<algorithm>", "<numpy_compat.h>", "<gpuarray/types.h>", "<gpuarray_helper.h>"]

    def c_header_dirs(self):
        return [*super().c_header_dirs(), gpuarray_helper_inc_dir()]

    def c_code_cache_version(self):
        return (_checksum(), self.op.python)

    def gpu_kernels(self, node, name):
        names = [f"v{number}" for number in range(len(node.inputs) + len(node.outputs))]
        launches = self.launches(node, names[:len(node.inputs)], names[len(node.inputs):])
        return [launch.kernel(f"k_{launch.name}_{name}") for launch in launches]

    def output_like(self):
        """{number of an output: that of the input whose shape it has}"""
        raise NotImplementedError

    def shape_of(self, number, node, inputs):
        """C expressions of an output's shape."""
        like = self.output_like()[number]
        return [f"{inputs[like]}->ga.dimensions[{axis}]" for axis in range(node.outputs[number].ndim)]

    def check(self, node, inputs, sub):
        """C++ code before all else: the arrays that outputs are like must have the same number of elements."""
        arrays = [name for number, name in enumerate(inputs) if number in self.alike(node)]
        conditions = " || ".join(f"!same_shape({arrays[0]}, {name})" for name in arrays[1:])
        return f"""
        if ({conditions or 0}) {{
            PyErr_SetString(PyExc_ValueError, "arrays of other shapes than each other's: {type(self.op).__name__}");
            {sub["fail"]}
        }}"""

    def alike(self, node):
        """The numbers of the inputs that have one shape."""
        return range(len(node.inputs))

    def c_support_code(self):
        return """
        static bool same_shape(const PyGpuArrayObject *a, const PyGpuArrayObject *b) {
            return a->ga.nd == b->ga.nd && std::equal(a->ga.dimensions, a->ga.dimensions + a->ga.nd, b->ga.dimensions);
        }
        static size_t elements(const PyGpuArrayObject *a) {
            size_t count = 1;
            for (unsigned axis = 0; axis < a->ga.nd; ++axis)
                count *= a->ga.dimensions[axis];
            return count;
        }
        static size_t blocks_for(size_t count) {
            return std::min<size_t>((count + %d) / %d, %d);
        }
        """ % (THREADS - 1, THREADS, MOST_BLOCKS)

    def c_code(self, node, name, inputs, outputs, sub):
        code = [self.check(node, inputs, sub)]
        for number, output in enumerate(outputs):
            if number in self.destroy_map:
                source = inputs[self.destroy_map[number][0]]
                code.append(f"Py_INCREF({source}); Py_XDECREF({output}); {output} = {source};")
            else:
                shape = self.shape_of(number, node, inputs)
                code.append(f"""
        {{
            size_t shape[] = {{{", ".join([*shape, "1"])}}};
            if (theano_prep_output(&{output}, {len(shape)}, shape, GA_FLOAT, GA_C_ORDER, {sub["params"]})) {{
                {sub["fail"]}
            }}
        }}""")
        scratch = {key: f"scratch_{key}" for key in self.SCRATCH}
        # Written and read by kernels that the GPU runs in order: it may go when they are started.
        free = "".join(f"Py_XDECREF({array});" for array in scratch.values())
        for key, array in scratch.items():
            length = self.SCRATCH[key].format(*inputs)
            code.append(f"""
        size_t length_{key} = {length};
        PyGpuArrayObject *{array} = pygpu_empty(1, &length_{key}, GA_FLOAT, GA_C_ORDER, {sub["params"]}, Py_None);
        if (!{array}) {{
            {sub["fail"]}
        }}""")
        launches = self.launches(node, inputs, outputs)
        code += [launch.call(f"k_{launch.name}_{name}", free + sub["fail"]) for launch in launches]
        return "{" + "\n".join([*code, free]) + "}"


def lifted(*cpu_ops):
    """Registers the decorated :class:`GpuOp` as what Theano puts in the place of an operation for the CPU."""
    def register(gpu_op):
        def lift(op, context_name, inputs, outputs):
            if all(output.dtype == "float32" for output in outputs):
                return gpu_op(op, context_name)(*inputs, return_list=True)

        lift.__name__ = f"local_gpu_{gpu_op.__name__}"
        register_opt("fast_compile")(op_lifter(list(cpu_ops))(lift))
        register_opt2(list(cpu_ops), "fast_compile")(lift)
        return gpu_op
    return register
