"""A network with its compiled functions: predictions, and training steps."""

from collections import OrderedDict

import numpy as np
import nets  # noqa: F401  prepares Theano
import lasagne
import theano
import theano.tensor as T
from lasagne.layers import get_all_layers, get_output
from theano.tensor.nnet.corr import BaseCorrMM

from nets.params import named_params
from nets.sparsity import EffectiveParams
from nets.tasks import Classification
from nets.training import state
from utils.threads import FairShare

__all__ = ["Predictor", "Trainer", "seed_generators"]

EVALUATION_BATCH = 250      # of examples whose order does not matter


def seed_generators(seed):
    """Seeds initial weights and training noise (Lasagne's generator); returns the one that shuffles and augments."""
    lasagne.random.set_rng(np.random.RandomState(seed))
    return np.random.Generator(np.random.PCG64(seed))


class Predictor:
    """A network with its compiled predictions, which are those of the pruned network.

    The values that it predicts with are computed once a test pass; counts and saved weights are of the same ones.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer
    task : see :mod:`nets.tasks`
    """

    def __init__(self, net, task=Classification()):
        self.net = net
        self.task = task
        self._effective = EffectiveParams(net)
        self._effective.update()
        inputs, targets = _variables(net, task)
        output = get_output(net, inputs, deterministic=True, effective=self._effective.variables)
        self._evaluate = theano.function([inputs, targets], task.sums(output, targets))
        self._streams = [layer for layer in get_all_layers(net) if getattr(layer, "streams", None)]

    def evaluate(self, split):
        """The task's evaluation, such as :class:`nets.tasks.Evaluation`, of a split of a data set."""
        self._effective.update()
        self._reset()
        batch = self._streams[0].streams if self._streams else EVALUATION_BATCH
        sums = np.zeros(self.task.NUM_SUMS)
        for start in range(0, len(split.inputs), batch):
            part = slice(start, start + batch)
            sums += [float(value) for value in self._evaluate(split.inputs[part], split.targets[part])]
        return self.task.evaluation(sums, self.task.number(split.targets))

    def _reset(self):
        """States that go on from batch to batch begin anew."""
        for layer in self._streams:
            layer.reset()

    @property
    def parts(self):
        """What a recurrent network kept of its parts at the last test pass or count: see :mod:`nets.structure`."""
        return self._effective.parts

    def count_layers(self):
        """A :class:`utils.compression.LayerSparsity` for each layer with weights."""
        return self._effective.count_layers()

    def weights(self):
        """The trained parameters, unpruned: {"layer.param": array}, theta as W."""
        return {name: variable.get_value() for name, variable in named_params(self.net).items()}

    def set_weights(self, arrays):
        """Sets what `weights` gave."""
        for name, variable in named_params(self.net).items():
            variable.set_value(arrays[name])

    def pruned_weights(self):
        """The weights and biases of the dense net that predicts as this one does: {"layer.W": array, ...}."""
        return self._effective.named_values()


class Trainer(Predictor):
    """A network with its objective, optimizer and compiled functions.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer
    method : :class:`nets.methods.base.Method`
        that its layers are of
    num_examples : int
        the size of the training set, N in the objective; of a language model, the number of its predictions
    l2 : float
        the weight of the sum of squared weights, which is added to the mean of -log p(y | x)
    clip : float or None
        the largest norm of the gradient to all parameters of the loss an example; longer ones are shortened to it
    task : see :mod:`nets.tasks`
    lesson : see :mod:`nets.tasks`
        what is minimized in training, if it is another than the task; reports like it

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 3 (the objective, N/B sum -log p(y | x) + KL) and 5 (Adam, and the
    weight of the KL term).
    """

    def __init__(self, net, method, num_examples, l2=0.0, task=Classification(), lesson=None, clip=None):
        super().__init__(net, task)
        lesson = lesson or task
        self.method = method
        self.num_examples = num_examples
        self.terms = method.terms(net)
        self._learning_rate = theano.shared(np.float32(0), "learning_rate")
        self._term_weights = [theano.shared(np.float32(0), f"{term.name}_weight") for term in self.terms]

        inputs, targets = _variables(net, lesson)
        noisy = get_output(net, inputs, deterministic=False)
        likelihood_loss = lesson.nll(noisy, targets)
        if l2:
            likelihood_loss += l2 * lasagne.regularization.regularize_network_params(net, lasagne.regularization.l2)
        loss = num_examples * likelihood_loss
        for term, weight in zip(self.terms, self._term_weights):
            loss += weight * term.value

        updates, groups = OrderedDict(), method.groups(net)
        gradients = T.grad(loss, [param for group in groups for param in group.params])
        if clip:
            gradients = lasagne.updates.total_norm_constraint(gradients, np.float32(clip * num_examples))
        for number, group in enumerate(groups):
            own, gradients = gradients[:len(group.params)], gradients[len(group.params):]
            rate = self._learning_rate if group.factor == 1 else self._learning_rate * np.float32(group.factor)
            updates.update(method.optimizer(own, group.params, rate, number, num_examples))
        updates.update(method.step_updates(net, updates))
        # Sums over an epoch. They stay on the device; one fetch an epoch.
        sums = [*lesson.sums(noisy, targets), *(term.value for term in self.terms)]
        self._totals = theano.shared(np.zeros(len(sums)), "totals")
        # Not T.stack, which would fetch them from a GPU one by one.
        updates[self._totals] = self._totals + T.concatenate(
            [T.cast(value, "float64").dimshuffle("x") for value in sums])
        self._train = theano.function([inputs, targets], updates=updates)
        # Theano's convolutions alone sum by thread.
        sums_by_thread = any(isinstance(node.op, BaseCorrMM) for node in self._train.maker.fgraph.apply_nodes)
        self._threads = None if sums_by_thread else FairShare()
        self._named_state = state.named_state(net, method, self._train, updates, [self._totals])
        self._term_values = theano.function([], [term.value for term in self.terms])

    def train_epoch(self, batches, learning_rate, term_weights=(), before_step=None, progress=None):
        """One pass over the training set.

        Parameters
        ----------
        batches : iterable of (inputs, targets)
        learning_rate : float
        term_weights : sequence of float
            of the method's terms
        before_step : callable(), or None
        progress : object with `update()`, or None

        Returns
        -------
        tuple
            the task's evaluation of the noisy predictions, and the mean of each term over the steps
        """
        self._learning_rate.set_value(np.float32(learning_rate))
        for variable, weight in zip(self._term_weights, term_weights, strict=True):
            variable.set_value(np.float32(weight))
        self._totals.set_value(np.zeros_like(self._totals.get_value()))
        self._reset()
        num_batches = num_examples = 0
        for inputs, targets in batches:
            if before_step:
                before_step()
            self._train(inputs, targets)
            if self._threads:
                self._threads.adapt()
            num_batches, num_examples = num_batches + 1, num_examples + self.task.number(targets)
            if progress:
                progress.update()
        totals = self._totals.get_value()
        number = self.task.NUM_SUMS
        return (self.task.evaluation(totals[:number], num_examples),
                [float(total) / num_batches for total in totals[number:]])

    def term_values(self):
        """The method's terms at the present weights, a list of float."""
        return [float(value) for value in self._term_values()]

    def state(self):
        """All that training depends on but the schedules, the data and their order: {name: array}."""
        return state.get_values(self._named_state)

    def set_state(self, arrays, where):
        """Sets what `state` gave; see :func:`nets.training.state.set_values`."""
        state.set_values(self._named_state, arrays, where)


def _variables(net, task):
    """Theano variables for a batch of the network's inputs and of their targets."""
    return get_all_layers(net)[0].input_var.type("inputs"), task.targets()
