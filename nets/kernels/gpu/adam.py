"""A step of Adam on a GPU."""

from nets.kernels.adam import AdamStep
from nets.kernels.gpu.op import GpuOp, Launch, lifted

__all__ = ["GpuAdamStep"]


@lifted(AdamStep)
class GpuAdamStep(GpuOp):
    """See :class:`nets.kernels.adam.AdamStep`."""

    HOST = 4,

    def output_like(self):
        return {0: 0, 1: 2, 2: 3}

    def alike(self, node):
        return range(4)

    def launches(self, node, inputs, outputs):
        op = self.op
        param, gradient, mean, square, rate = inputs
        body = f"""
        for (ga_ulong i = FIRST; i < n; i += STRIDE) {{
            const float mean = {op.beta1!r}f * from_mean[i] + (1 - {op.beta1!r}f) * g[i];
            const float square = {op.beta2!r}f * from_square[i] + (1 - {op.beta2!r}f) * g[i] * g[i];
            to_mean[i] = mean;
            to_square[i] = square;
            to_x[i] = x[i] - rate * mean / (sqrt(square) + {op.epsilon!r}f);
        }}"""
        arrays = dict(zip(("x", "g", "from_mean", "from_square", "to_x", "to_mean", "to_square"),
                          (param, gradient, mean, square, *outputs)))
        return [Launch("adam", body, arrays, f"blocks_for(elements({param}))",
                       {"rate": ("float32", f"*(npy_float32 *)PyArray_DATA({rate})"),
                        "n": ("uint64", f"elements({param})")})]
