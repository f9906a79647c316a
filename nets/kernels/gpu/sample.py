"""Sampled pre-activations on a GPU: one kernel, and two for the gradients.

Some of cuDNN's convolutions (FFT, Winograd) round a variance of 0 to below 0; it is 0 here.
"""

from nets.kernels.gpu.op import THREADS, GpuOp, Launch, lifted
from nets.kernels.sample import SampleGradients, SampleOp

__all__ = ["GpuSample", "GpuSampleGradients"]

#: Blocks that share a channel's elements.
SHARES = 16


def _pixels(array):
    """C expression: the elements of an image's channel."""
    return f"(elements({array}) / std::max<size_t>({array}->ga.dimensions[0] * {array}->ga.dimensions[1], 1))"


def _shifted(op):
    """In a kernel: the variance, which is not below 0, and epsilon."""
    return f"(variance[i] < 0 ? 0.0f : variance[i]) + {op.epsilon!r}f"


@lifted(SampleOp)
class GpuSample(GpuOp):
    """See :class:`nets.kernels.sample.SampleOp`."""

    def output_like(self):
        return {0: 0}

    def alike(self, node):
        return range(3)

    def check(self, node, inputs, sub):
        return super().check(node, inputs, sub) + f"""
        if ({inputs[3]}->ga.dimensions[0] != {inputs[0]}->ga.dimensions[1]) {{
            PyErr_SetString(PyExc_ValueError, "as many biases are needed as there are channels");
            {sub["fail"]}
        }}"""

    def launches(self, node, inputs, outputs):
        mean, variance, noise, b = inputs
        value = "z < 0 ? 0.0f : z" if self.op.rectified else "z"
        body = f"""
        for (ga_ulong i = FIRST; i < n; i += STRIDE) {{
            const float deviation = sqrt({_shifted(self.op)});
            const float z = mean[i] + deviation * noise[i] + b[i / pixels % channels];
            to[i] = {value};
        }}"""
        return [Launch("sample", body, {"mean": mean, "variance": variance, "noise": noise, "b": b, "to": outputs[0]},
                       f"blocks_for(elements({mean}))",
                       {"pixels": ("uint32", _pixels(mean)), "channels": ("uint32", f"{mean}->ga.dimensions[1]"),
                        "n": ("uint64", f"elements({mean})")})]


@lifted(SampleGradients)
class GpuSampleGradients(GpuOp):
    """See :class:`nets.kernels.sample.SampleGradients`. Blocks leave sums of a channel's part; a last kernel adds."""

    SCRATCH = {"parts": f"{{0}}->ga.dimensions[1] * {SHARES}"}

    def output_like(self):
        return {0: 0, 1: 0} if self.op.rectified else {0: 0}

    def shape_of(self, number, node, inputs):
        if number == len(node.outputs) - 1:
            return [f"{inputs[0]}->ga.dimensions[1]"]
        return super().shape_of(number, node, inputs)

    def launches(self, node, inputs, outputs):
        variance, noise, *z, g = inputs
        *d_mean, d_variance, d_b = outputs
        rectified = bool(z)
        body = f"""
        LOCAL_MEM float sums[{THREADS}];
        const ga_uint channel = GID_0 / {SHARES};
        float total = 0;
        for (ga_ulong j = GID_0 % {SHARES} * {THREADS} + LID_0; j < count; j += {SHARES * THREADS}) {{
            const ga_ulong i = (j / pixels * channels + channel) * pixels + j % pixels;
            const float passed = {"z[i] <= 0 ? 0.0f : g[i]" if rectified else "g[i]"};
            {"d_mean[i] = passed;" if rectified else ""}
            d_variance[i] = passed * noise[i] * 0.5f / sqrt({_shifted(self.op)});
            total += passed;
        }}
        SUM(total)
        if (LID_0 == 0)
            parts[GID_0] = sums[0];"""
        adding = f"""
        for (ga_ulong channel = FIRST; channel < channels; channel += STRIDE) {{
            float total = 0;
            for (int share = 0; share < {SHARES}; ++share)
                total += parts[channel * {SHARES} + share];
            d_b[channel] = total;
        }}"""
        channels = f"{variance}->ga.dimensions[1]"
        arrays = {"variance": variance, "noise": noise, "g": g, "d_variance": d_variance, "parts": "scratch_parts"}
        if rectified:
            arrays.update(z=z[0], d_mean=d_mean[0])
        return [Launch("sample_gradients", body, arrays, f"{channels} * {SHARES}",
                       {"pixels": ("uint32", _pixels(variance)), "channels": ("uint32", channels),
                        "count": ("uint64", f"{variance}->ga.dimensions[0] * {_pixels(variance)}")}),
                Launch("add", adding, {"parts": "scratch_parts", "d_b": d_b}, f"blocks_for({channels})",
                       {"channels": ("uint32", channels)})]
