"""What a method is: the layers it supplies, and what it adds to training, checkpoints, tables and files."""

from collections import namedtuple

from lasagne.init import Constant, Normal
from lasagne.layers import get_all_params

from nets import kernels
from nets.layers.conv import Conv2DLayer
from nets.layers.dense import DenseLayer
from nets.layers.embedding import EmbeddingLayer
from nets.layers.lstm import LSTMLayer
from nets.layers.output import OutputLayer
from utils.flags import per_layer

__all__ = ["Method", "Term", "Group", "Column", "Step"]

#: A term of the objective beside the data's. name : str, its column in the history (its weight's is `<name>_weight`);
#: title : str, its header; value : Theano scalar; weight : schedule.
Term = namedtuple("Term", "name title value weight")

#: Parameters that are trained with one factor on the learning rate.
Group = namedtuple("Group", "params factor", defaults=(1.0,))

#: A number of the method's own, by epoch and in the summary. key : str, in the files; header : str and format : str, in
#: the row that an epoch prints.
Column = namedtuple("Column", "key header format")

#: Where training is: the number of completed steps and epochs, steps an epoch, epochs in all, and the run's seed.
Step = namedtuple("Step", "step epoch steps_per_epoch epochs seed")


class Method:
    """The dense network; other methods override what they do otherwise.

    A method is made of its values: its flags' and those that scripts alone set. Calls come in this order: layers, when
    the network is built; `check`; `start`, if it starts from weights on disk; `terms`, `groups`, `optimizer`,
    `step_updates` and `state`, when training is compiled; `begin_epoch` and `before_step`; `row` after each epoch;
    `finish`; `row` once more.

    What is random may depend on its own numbers alone: `numpy.random.default_rng((seed, step))` in `begin_epoch` and
    `before_step`, a layer's noise stream in the graph. Then a run that is resumed needs nothing more than `state`.

    Attributes
    ----------
    name : str
        on the command line, in files
    title : str
        in tables; never a key
    prunes : bool
        whether sparsity and compression are shown
    dense_class, conv_class : classes of layers
        with the arguments of :class:`nets.layers.dense.DenseLayer` and :class:`nets.layers.conv.Conv2DLayer`
    initial_weights : callable(shape) of an array
        an initializer of Lasagne's; the convolutions' too, as in the authors' scripts
    starts_from : str
        which file of another run's folder `--init-from` and `--pretrain` take
    needs_start : bool
        whether random weights are refused
    flags : tuple of :class:`utils.flags.Flag`
        values that the method has
    by_part : dict
        {name of a value that has a number for all parts of a network or one each: callable(net) -> the parts}
    columns : tuple of :class:`Column`
        what `row` gives
    before_step : None or callable(net, :class:`Step`)
        called before each training step

    Raises
    ------
    ValueError
        if a value is none of the method's.
    """

    name = "dense"
    title = "Dense"
    prunes = False
    dense_class = DenseLayer
    conv_class = Conv2DLayer
    initial_weights = Normal(0.01)
    starts_from = "weights.npz"
    needs_start = False
    flags = ()
    by_part = {}
    columns = ()
    before_step = None

    def __init__(self, **values):
        for flag in self.flags:
            setattr(self, flag.name, values.pop(flag.name, flag.default))
        if values:
            raise ValueError(f"{', '.join(values)}: no value of the method {self.name}")

    # The network's layers.

    def dense_layer(self, incoming, num_units, nonlinearity, name):
        """A fully-connected layer."""
        return self.dense_class(incoming, num_units, nonlinearity=nonlinearity, name=name,
                                **self.layer_values(incoming))

    def conv_layer(self, incoming, num_filters, filter_size, nonlinearity, name, pad=0):
        """A 2-d convolution."""
        return self.conv_class(incoming, num_filters, filter_size, pad=pad, nonlinearity=nonlinearity, name=name,
                               **self.layer_values(incoming))

    def layer_values(self, incoming):
        """What both classes are given beside their place in the network."""
        return dict(W=self.initial_weights, b=Constant(0.0))

    def embedding_layer(self, incoming, num_tokens, num_units, name, **keywords):
        """A row of weights for each word; keywords as of :class:`nets.layers.embedding.EmbeddingLayer`."""
        return EmbeddingLayer(incoming, num_tokens, num_units, name=name, **keywords)

    def lstm_layer(self, incoming, num_units, name, **keywords):
        """An LSTM; keywords as of :class:`nets.layers.lstm.LSTMLayer`."""
        return LSTMLayer(incoming, num_units, name=name, **keywords)

    def output_layer(self, lstm, num_units, name, noise_for, **keywords):
        """The layer behind an LSTM; keywords as of :class:`nets.layers.output.OutputLayer`.

        `noise_for` says where its noise is drawn anew, if it has any: one of `nets.layers.output.SAMPLES`.
        """
        return OutputLayer(lstm, num_units, name=name, **keywords)

    def dropout(self, incoming, p):
        """What stands where the network has binary dropout of rate p; `incoming` itself is none."""
        return incoming

    def check(self, net):
        """Called before anything is trained or written.

        Raises
        ------
        UserError
            if a value does not fit the network; it names the flag.
        """
        for name in self.by_part:
            self.of_parts(net, name)

    def of_parts(self, net, name):
        """The parts that a value of `by_part` is for, each with its number: a list of pairs; errors as of `check`."""
        parts = self.by_part[name](net)
        return list(zip(parts, per_layer("--" + name.replace("_", "-"), getattr(self, name), len(parts))))

    # Starting from weights on disk.

    def start_needed(self):
        """What to tell who gave no weights to start from, where they are needed."""
        return (f"--method {self.name} goes on from the weights of another run: give --init-from RUN, or --pretrain "
                "METHOD")

    def start(self, net, missing, given):
        """Sets what the weights on disk do not tell.

        Parameters
        ----------
        net : :class:`lasagne.layers.Layer`
        missing : list of str
            names of the parameters that were not among the weights; all of them are of training only
        given : set of str
            names of the values that the command line gives; of those that may be the script's own, the ones whose flags
            are `at_start`

        Returns
        -------
        str
            what the user is told of it, to follow "Starts from ..."
        """
        return ""

    # Training, compiled once.

    def terms(self, net):
        """The :class:`Term` list: training minimizes N mean(-log p) + sum of weight times value."""
        return []

    def groups(self, net):
        """The :class:`Group` list: what is trained, and how fast."""
        return [Group(get_all_params(net, trainable=True))]

    def optimizer(self, gradients, params, learning_rate, number, num_examples):
        """The updates, a dict, that train the group of that number; Adam.

        The gradients are of the objective, which grows with the number of training examples.
        """
        return kernels.adam(gradients, params, learning_rate, name=f"adam/{number}" if number else "adam")

    def step_updates(self, net, updates):
        """More updates for each step, {shared variable: expression}; a parameter's new value is `updates[param]`."""
        return {}

    def state(self, net):
        """{name: shared variable} of what training changes and no layer has as a parameter."""
        return {}

    # Training, epoch by epoch.

    def begin_epoch(self, net, step):
        """Before the steps of an epoch; `step` is its first :class:`Step`."""

    def row(self, net):
        """The values of `columns`, {key: number}."""
        return {}

    def finish(self, net):
        """After the last epoch, before the final test pass and the files."""
