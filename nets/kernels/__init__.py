"""Operations in C++ with OpenMP, for a CPU, each behind a plain function.

A kernel's file holds its C++ operation and, beside it, the plain Theano graph that computes the same and stands in for
it where there is no compiler, and on a GPU unless `gpu/` has the operation. Which of the two is made is decided when
the graph is made, in :func:`nets.kernels.base.kernel` alone. The names of :func:`plain` and :func:`enabled` are those
of the files.
"""

import theano

from nets.kernels.adam import adam
from nets.kernels.base import enabled, plain, use_plain_graph
from nets.kernels.batch_norm import batch_norm
from nets.kernels.conv import conv, conv_pair
from nets.kernels.dense import dense, dense_pair
from nets.kernels.lstm import lstm
from nets.kernels.max_pool import max_pool_2x2
from nets.kernels.mixture import mixture_negative_log
from nets.kernels.normal import normal_stream
from nets.kernels.posterior import PosteriorConstants, posterior, posterior_of_log_alpha
from nets.kernels.sample import sample

if theano.config.device != "cpu":
    from nets.kernels import gpu  # noqa: F401

__all__ = ["PosteriorConstants", "adam", "batch_norm", "conv", "conv_pair", "dense", "dense_pair", "enabled", "lstm",
           "max_pool_2x2", "mixture_negative_log", "normal_stream", "plain", "posterior", "posterior_of_log_alpha",
           "sample", "use_plain_graph"]
