"""Max-pooling as the paper's networks have it."""

from lasagne.layers import MaxPool2DLayer

from nets import kernels

__all__ = ["MaxPool2x2Layer"]


class MaxPool2x2Layer(MaxPool2DLayer):
    """The largest of each 2x2 pixels; an odd last row or column is left out.

    The same as `MaxPool2DLayer(incoming, 2)`, several times as fast on a CPU. Of tied pixels, the first has the
    gradient; in Theano's own graph, each of them has all of it.
    """

    def __init__(self, incoming, **kwargs):
        super().__init__(incoming, 2, **kwargs)

    def get_output_for(self, input, **kwargs):
        return kernels.max_pool_2x2(input)
