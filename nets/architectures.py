"""The paper's networks, each described once for every method (`nets.methods`).

Each takes the method, the shape of one image (channels, rows, columns) or text and the number of classes, and returns
the output layer, of shape (images, num_classes): probabilities. Layers have the same names whatever the method is.
`NETWORKS` is the one list of them.
"""

from dataclasses import dataclass
from typing import Callable

import theano.tensor as T
from lasagne.init import GlorotUniform, Orthogonal, Uniform
from lasagne.layers import InputLayer
from lasagne.nonlinearities import rectify, softmax

from nets.layers.batch_norm import BatchNormLayer
from nets.layers.pool import MaxPool2x2Layer
from utils.errors import UserError

__all__ = ["Network", "NETWORKS", "char_lstm", "lenet_300_100", "lenet_500_300", "lenet_5_caffe",
           "logistic_regression", "text_lstm", "vgg_like", "word_lstm"]


def logistic_regression(method, input_shape=(1, 28, 28), num_classes=10):
    """Logistic regression: one dense layer, softmax."""
    net = InputLayer((None, *input_shape), name="input")
    return method.dense_layer(net, num_classes, nonlinearity=softmax, name="dense1")


def lenet_300_100(method, input_shape=(1, 28, 28), num_classes=10, k=1):
    """LeNet-300-100: 784-300-100-10, ReLU, softmax; 266,200 weights without biases.

    The rate of binary dropout is 0.5 after each hidden layer.

    Parameters
    ----------
    k : float
        scales the numbers of hidden units, which the experiment with random labels needs

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), table 1.
    """
    return _two_hidden_layers(method, (_scaled(300, k), _scaled(100, k)), input_shape, num_classes)


def lenet_500_300(method, input_shape=(1, 28, 28), num_classes=10):
    """LeNet-500-300: 784-500-300-10, ReLU, softmax; 545,000 weights without biases.

    The rate of binary dropout is 0.5 after each hidden layer.

    References
    ----------
    Neklyudov, Molchanov, Ashukha, Vetrov (2017), Structured Bayesian pruning via log-normal multiplicative noise, its
    table of LeNets.
    """
    return _two_hidden_layers(method, (500, 300), input_shape, num_classes)


def _scaled(width, k):
    if int(width * k) < 1:
        raise UserError(f"--k {k:g} leaves nothing of a layer of {width}: give a larger one")
    return int(width * k)


def _two_hidden_layers(method, widths, input_shape, num_classes):
    net = InputLayer((None, *input_shape), name="input")
    for name, units in zip(("dense1", "dense2"), widths):
        net = method.dense_layer(net, units, nonlinearity=rectify, name=name)
        net = method.dropout(net, 0.5)
    return method.dense_layer(net, num_classes, nonlinearity=softmax, name="dense3")


def lenet_5_caffe(method, input_shape=(1, 28, 28), num_classes=10):
    """LeNet-5-Caffe: conv 20@5x5, pool, conv 50@5x5, pool, dense 500, dense 10; 430,500 weights without biases.

    The rate of binary dropout is 0.5 before the last layer.

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), table 1; the Caffe variant of LeCun et al. (1998).
    """
    net = InputLayer((None, *input_shape), name="input")
    for name, filters in (("conv1", 20), ("conv2", 50)):
        net = method.conv_layer(net, filters, 5, nonlinearity=rectify, name=name)
        net = MaxPool2x2Layer(net)
    net = method.dense_layer(net, 500, nonlinearity=rectify, name="dense1")
    net = method.dropout(net, 0.5)
    return method.dense_layer(net, num_classes, nonlinearity=softmax, name="dense2")


def vgg_like(method, input_shape=(3, 32, 32), num_classes=10, k=1, rectified_twice=False):
    """VGG-like: 13 convolutions 3x3 in five blocks, each block pooled, and 2 dense layers; about 15 million weights.

    Every layer but the last is linear, batch normalization, ReLU. The rate of binary dropout is 0.3 after the first
    convolution, 0.4 after every other one that is not followed by pooling, and 0.5 before the last layer.

    Parameters
    ----------
    k : float
        scales the numbers of filters and units: 64 k, 128 k, 256 k, 512 k, 512 k
    rectified_twice : bool
        whether the last hidden layer is rectified before its normalization too, as in the dense networks of the
        authors' files

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), figure 3; Zagoruyko (2015), 92.45% on CIFAR-10 in Torch.
    """
    net = InputLayer((None, *input_shape), name="input")
    for block, (convolutions, filters) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1):
        for number in range(1, convolutions + 1):
            name = f"{block}_{number}"
            net = method.conv_layer(net, _scaled(filters, k), 3, pad=1, nonlinearity=None, name="conv" + name)
            net = BatchNormLayer(net, rectify, name="norm" + name)
            if number < convolutions:
                net = method.dropout(net, 0.3 if name == "1_1" else 0.4)
        net = MaxPool2x2Layer(net)
    net = method.dense_layer(net, _scaled(512, k), nonlinearity=rectify if rectified_twice else None, name="dense1")
    net = BatchNormLayer(net, rectify, name="norm6")
    net = method.dropout(net, 0.5)
    return method.dense_layer(net, num_classes, nonlinearity=softmax, name="dense2")


def char_lstm(method, input_shape=(99,), num_classes=50, units=1000):
    """A language model of characters: one-hot characters, LSTM, softmax; 4,250,000 weights of 1000 units.

    Takes ids, int32, (sequences, steps); gives probabilities of the next one, (sequences * steps, num_classes).

    Parameters
    ----------
    units : int
        of the LSTM

    References
    ----------
    Lobacheva, Chirkova, Vetrov (2018), Bayesian sparsification of gated recurrent neural networks; the settings are
    those of the authors' code.
    """
    return _language_model(method, input_shape, num_classes, units, "sequence")


def word_lstm(method, input_shape=(35,), num_classes=10000, units=256, streams=32):
    """A language model of words, whose state goes on from batch to batch; 13,062,144 weights of 256 units.

    Parameters
    ----------
    units : int
        of the LSTM
    streams : int
        parts of the text that are read side by side, the sequences of each batch

    References
    ----------
    See :func:`char_lstm`.
    """
    return _language_model(method, input_shape, num_classes, units, "weights", forget_bias=1.0, streams=streams)


def _language_model(method, input_shape, num_classes, units, noise_for, **keywords):
    net = InputLayer((None, *input_shape), T.imatrix("tokens"), name="input")
    net = method.lstm_layer(net, units, name="lstm", num_inputs=num_classes, W_x=Orthogonal(), W_h=Orthogonal(),
                            **keywords)
    return method.output_layer(net, num_classes, noise_for=noise_for, W=Orthogonal(), name="output")


def text_lstm(method, input_shape=(200,), num_classes=2, vocabulary=20003, units=128, embedding=300):
    """A classifier of documents: embedding, LSTM, softmax of its last state; 6,220,292 weights.

    Takes ids of words, int32, (documents, steps), of which 0 is padding. Gates are hard sigmoids.

    Parameters
    ----------
    vocabulary, units, embedding : int
        how many words, LSTM's units and embedding's dimensions there are

    References
    ----------
    Chirkova, Lobacheva, Vetrov (2018), Bayesian compression for natural language processing; the settings are those of
    the authors' code, but for two classes they have one output.
    """
    tokens = InputLayer((None, *input_shape), T.imatrix("tokens"), name="input")
    net = method.embedding_layer(tokens, vocabulary, embedding, W=Uniform(0.05), name="embedding")
    net = method.lstm_layer(net, units, name="lstm", tokens=tokens, W_x=GlorotUniform(), W_h=Orthogonal(1.1),
                            forget_bias=1.0, hard=True, last=True)
    return method.output_layer(net, num_classes, noise_for="row", W=GlorotUniform(), name="output")


@dataclass(frozen=True)
class Network:
    """A network as scripts, files and tables know it.

    Attributes
    ----------
    name : str
        in files and on the command line
    title : str
        in tables; never a key
    function : callable(method, input_shape=..., num_classes=...[, k=...]) of the output layer
    scalable : bool
        whether it has a width k
    names_width : bool
        whether tables name a width of 1, too
    """

    name: str
    title: str
    function: Callable
    scalable: bool = False
    names_width: bool = False

    def build(self, method, input_shape=None, num_classes=10, k=1.0, **keywords):
        """The output layer; without `input_shape`, for the images of the paper. `keywords` are the function's own.

        Raises
        ------
        ValueError
            if the images are too small.
        """
        if input_shape is not None:
            keywords["input_shape"] = input_shape
        if self.scalable:
            keywords["k"] = k
        return self.function(method, num_classes=num_classes, **keywords)

    def titled(self, k=1.0):
        """The title of the network of width k."""
        return f"{self.title}, k = {k:g}" if self.scalable and (self.names_width or k != 1) else self.title


NETWORKS = {network.name: network for network in (
    Network("logistic-regression", "Logistic regression", logistic_regression),
    Network("lenet-300-100", "LeNet-300-100", lenet_300_100, scalable=True),
    Network("lenet-500-300", "LeNet-500-300", lenet_500_300),
    Network("lenet-5-caffe", "LeNet-5-Caffe", lenet_5_caffe),
    Network("vgg-like", "VGG-like", vgg_like, scalable=True, names_width=True),
    Network("char-lstm", "LSTM of characters", char_lstm),
    Network("word-lstm", "LSTM of words", word_lstm),
    Network("text-lstm", "LSTM classifier", text_lstm))}
