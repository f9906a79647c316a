"""Standard normal numbers on a GPU: those of the CPU, up to rounding, so that a seed means the same on both."""

from nets.kernels.gpu.op import GpuOp, Launch

__all__ = ["GpuNormal"]


class GpuNormal(GpuOp):
    """See :class:`nets.kernels.normal.NormalOp`. Its state stays on the host; a kernel is started with its numbers."""

    HOST = 0, 1

    def check(self, node, inputs, sub):
        state, size = inputs
        return f"""
        if (PyArray_DIM({state}, 0) != 2 || PyArray_DIM({size}, 0) != {node.outputs[0].ndim}) {{
            PyErr_SetString(PyExc_ValueError, "a state of two numbers and a size of {node.outputs[0].ndim} are needed");
            {sub["fail"]}
        }}
        for (int axis = 0; axis < {node.outputs[0].ndim}; ++axis)
            if (*(npy_int64 *)PyArray_GETPTR1({size}, axis) < 0) {{
                PyErr_SetString(PyExc_ValueError, "a negative size of normal numbers");
                {sub["fail"]}
            }}"""

    def shape_of(self, number, node, inputs):
        return [f"(size_t)*(npy_int64 *)PyArray_GETPTR1({inputs[1]}, {axis})" for axis in range(node.outputs[0].ndim)]

    def launches(self, node, inputs, outputs):
        # A thread makes four numbers of a block of Philox, 256 apart, as the C++ code lays them out.
        body = """
        for (ga_ulong block = FIRST; block / 256 * 1024 < n; block += STRIDE) {
            const ga_ulong low = 0xffffffff;
            ga_ulong x0 = block & low, x1 = block >> 32, x2 = draw & low, x3 = draw >> 32;
            ga_uint key0 = (ga_uint)seed, key1 = (ga_uint)(seed >> 32);
            for (int round = 0; round < 10; ++round) {
                const ga_ulong product0 = x0 * 0xD2511F53u, product1 = x2 * 0xCD9E8D57u;
                x0 = ((product1 >> 32) ^ x1 ^ key0) & low;
                x1 = product1 & low;
                x2 = ((product0 >> 32) ^ x3 ^ key1) & low;
                x3 = product0 & low;
                key0 += 0x9E3779B9u;
                key1 += 0xBB67AE85u;
            }
            ga_ulong at = block / 256 * 1024 + block % 256;
            for (int pair = 0; pair < 2; ++pair, at += 512) {
                const ga_uint word0 = (ga_uint)(pair ? x2 : x0), word1 = (ga_uint)(pair ? x3 : x1);
                const float u = (float)(ga_int)(word0 >> 1) * 4.656612873e-10f + 2.328306437e-10f;
                const float radius = sqrt(fabs(2.0f * log(u))), angle = (float)(ga_int)word1 * 1.462918079e-9f;
                if (at < n)
                    to[at] = radius * cos(angle);
                if (at + 256 < n)
                    to[at + 256] = radius * sin(angle);
            }
        }"""
        state, _ = inputs
        return [Launch("normal", body, {"to": outputs[0]}, f"blocks_for((elements({outputs[0]}) + 3) / 4)",
                       {"seed": ("uint64", f"*(npy_uint64 *)PyArray_GETPTR1({state}, 0)"),
                        "draw": ("uint64", f"*(npy_uint64 *)PyArray_GETPTR1({state}, 1)"),
                        "n": ("uint64", f"elements({outputs[0]})")})]
