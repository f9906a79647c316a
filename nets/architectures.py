"""The paper's networks, each described once for every method (`nets.methods`)."""

from lasagne.layers import InputLayer
from lasagne.nonlinearities import rectify, softmax

__all__ = ["lenet_300_100"]


def lenet_300_100(method, input_shape=(1, 28, 28), num_classes=10):
    """LeNet-300-100: 784-300-100-10, ReLU, softmax; 266,200 weights without biases.

    Parameters
    ----------
    method : :class:`nets.methods.Method`
        which layers to build it from
    input_shape : tuple
        of one image: channels, rows, columns
    num_classes : int
        the number of outputs

    Returns
    -------
    :class:`lasagne.layers.Layer`
        the output layer, of shape (images, num_classes): probabilities

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), table 1.
    """
    net = InputLayer((None, *input_shape), name="input")
    net = method.dense_layer(net, 300, nonlinearity=rectify, name="dense1")
    net = method.dense_layer(net, 100, nonlinearity=rectify, name="dense2")
    return method.dense_layer(net, num_classes, nonlinearity=softmax, name="dense3")
