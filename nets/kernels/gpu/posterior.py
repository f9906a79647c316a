"""The weights' posterior on a GPU: two kernels, and one for the gradient."""

from nets.kernels.gpu.op import THREADS, GpuOp, Launch, lifted
from nets.kernels.posterior import PosteriorGradients, PosteriorOp, numbers

__all__ = ["GpuPosterior", "GpuPosteriorGradients"]


def _constants(own):
    """As constants of a kernel."""
    return "\n".join(f"const float {name.upper()} = {value!r}f;" for name, value in numbers(own).items())


_ALPHA = """
            const float shifted = w[i] * w[i] + EPSILON, unclipped = ls[i] - log(shifted);
            const float log_alpha = unclipped < -CLIP ? -CLIP : unclipped > CLIP ? CLIP : unclipped;
            const float alpha = exp(log_alpha);
            const int pruned = log_alpha >= THRESHOLD;"""


@lifted(PosteriorOp)
class GpuPosterior(GpuOp):
    """See :class:`nets.kernels.posterior.PosteriorOp`. Each block leaves the sum of its KL terms; a last one adds."""

    SCRATCH = {"parts": "std::max<size_t>(blocks_for(elements({0})), 1)"}

    def output_like(self):
        return {0: 0, 1: 0, 2: 0}

    def launches(self, node, inputs, outputs):
        theta, log_sigma2 = inputs
        kept, variances, kl = outputs
        body = f"""
        LOCAL_MEM float sums[{THREADS}];
        {_constants(self.op.constants)}
        float total = 0;
        for (ga_ulong i = FIRST; i < n; i += STRIDE) {{{_ALPHA}
            const float sigmoid = 1 / (1 + exp(-(K2 + K3 * log_alpha)));
            kept[i] = pruned ? 0.0f : w[i] + LEAST;
            variances[i] = (pruned ? NOISE : 1.0f) * alpha * w[i] * w[i];
            total += (pruned ? SHARE : 1.0f) * (K1 - K1 * sigmoid + 0.5f * log(1 + 1 / alpha));
        }}
        SUM(total)
        if (LID_0 == 0)
            parts[GID_0] = sums[0];"""
        adding = f"""
        LOCAL_MEM float sums[{THREADS}];
        float total = 0;
        for (ga_ulong i = LID_0; i < n; i += {THREADS})
            total += parts[i];
        SUM(total)
        if (LID_0 == 0)
            kl[0] = sums[0];"""
        blocks = f"std::max<size_t>(blocks_for(elements({theta})), 1)"
        return [Launch("posterior", body, {"w": theta, "ls": log_sigma2, "kept": kept, "variances": variances,
                                           "parts": "scratch_parts"}, blocks, {"n": ("uint64", f"elements({theta})")}),
                Launch("add", adding, {"parts": "scratch_parts", "kl": kl}, "1", {"n": ("uint64", blocks)})]


@lifted(PosteriorGradients)
class GpuPosteriorGradients(GpuOp):
    """See :class:`nets.kernels.posterior.PosteriorGradients`."""

    HOST = 4,

    def output_like(self):
        return {0: 0, 1: 0}

    def alike(self, node):
        return range(4)

    def launches(self, node, inputs, outputs):
        *arrays, to_kl = inputs
        body = f"""
        {_constants(self.op.constants)}
        for (ga_ulong i = FIRST; i < n; i += STRIDE) {{{_ALPHA}
            const float inside = log_alpha == unclipped ? 1.0f : 0.0f;
            const float power = exp(-(K2 + K3 * log_alpha)), sigmoid = 1 / (1 + power);
            const float slope = -K1 * K3 * power * sigmoid * sigmoid - 0.5f / (1 + alpha);
            const float by_kl = (pruned ? SHARE : 1.0f) * inside * to_kl * slope;
            const float by_variance = (pruned ? NOISE : 1.0f) * to_variance[i] * alpha;
            const float changes = 1 - inside + inside * EPSILON / shifted;
            const float theta = w[i], kept = pruned ? 0.0f : to_kept[i];
            d_theta[i] = kept + 2 * theta * (by_variance * changes - by_kl / shifted);
            d_ls[i] = inside * by_variance * theta * theta + by_kl;
        }}"""
        names = dict(zip(("w", "ls", "to_kept", "to_variance", "d_theta", "d_ls"), (*arrays, *outputs)))
        return [Launch("posterior_gradients", body, names, f"blocks_for(elements({arrays[0]}))",
                       {"to_kl": ("float32", f"*(npy_float32 *)PyArray_DATA({to_kl})"),
                        "n": ("uint64", f"elements({arrays[0]})")})]
