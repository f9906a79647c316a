"""The operations of nets/kernels/ on a GPU, by kernels of their own: of Theano's, each would be a dozen.

Small networks wait for a GPU to be told what to do, some microseconds a kernel, rather than for its arithmetic. Graphs
are made of the operations for the CPU, which Theano's optimizations put on the GPU as it does with its own. `KERNELS`
names those that have kernels here; of the others, graphs are Theano's own operations (cuBLAS and cuDNN).

Kernels are written in libgpuarray's language (cluda.h), which is CUDA and OpenCL alike: tests run them without a GPU.
"""

from nets.kernels import base
from nets.kernels.gpu import adam, convolution, normal, posterior, sample  # noqa: F401  tells Theano of them

__all__ = ["KERNELS"]

KERNELS = "adam", "normal", "posterior", "sample"
base.on_gpu.update(KERNELS)
