"""What a network is trained for: the data's term of the objective, and how well it does."""

from collections import namedtuple

import theano.tensor as T

from utils.measures import bits, perplexity

__all__ = ["Classification", "Distillation", "Evaluation", "NextToken"]

#: How well a network does on a set. nll : mean of -log p(target | input) in nats; error_percent : float.
Evaluation = namedtuple("Evaluation", "nll error_percent")

#: What an evaluation comes to in the terms of a task. name : str, in files; header, format : str, in the row that an
#: epoch prints; of : callable(:class:`Evaluation`) -> float
Measure = namedtuple("Measure", "name header format of")


class Classification:
    """Classes of inputs; the network's output is a matrix of probabilities, (inputs, classes), of a softmax."""

    #: What is added up over minibatches, as `sums` gives it.
    NUM_SUMS = 2
    #: What an evaluation comes to beside its own numbers, a :class:`Measure` or None.
    measure = None

    def targets(self):
        """A Theano variable for a minibatch of targets: class numbers, (inputs,), int32."""
        return T.ivector("labels")

    def number(self, targets):
        """How many predictions a numpy array of targets is of."""
        return len(targets)

    def nll(self, probabilities, labels):
        """The mean of -log p(label | input) over a minibatch in nats; a Theano scalar."""
        return T.mean(T.nnet.categorical_crossentropy(probabilities, labels))

    def sums(self, probabilities, labels):
        """-log p(label | input) and wrong classes, each summed over a minibatch; Theano scalars."""
        wrong = T.sum(T.neq(T.argmax(probabilities, axis=1), labels))
        return [self.nll(probabilities, labels) * labels.size, wrong]

    def evaluation(self, sums, number):
        """The :class:`Evaluation` of sums over `number` inputs."""
        nll, wrong = sums
        return Evaluation(float(nll) / number, 100.0 * float(wrong) / number)


class NextToken(Classification):
    """A language model: the network's output is a matrix of probabilities with a row for each sequence and step.

    An example is a prediction, of the token that comes next. Of evaluations, `measure` is bits per character, or
    perplexity: e to the mean of -log p.

    Parameters
    ----------
    words : bool
        whether tokens are words
    """

    def __init__(self, words=False):
        self.measure = Measure("perplexity", "perpl", "8.2f", lambda found: perplexity(found.nll)) if words \
            else Measure("bits", "bits", "9.4f", lambda found: bits(found.nll))

    def targets(self):
        """A Theano variable for a minibatch: the token that follows at each step, (sequences, steps), int32."""
        return T.imatrix("targets")

    def number(self, targets):
        return targets.size

    def nll(self, probabilities, targets):
        return super().nll(probabilities, targets.flatten())

    def sums(self, probabilities, targets):
        return Classification().sums(probabilities, targets.flatten())


class Distillation(Classification):
    """Classification with a teacher, whose softened probabilities are learned beside the labels.

    The network ends in Theano's softmax. What is minimized is (1 - weight) times -log p(label) + weight T^2 times the
    cross-entropy of the teacher's and the network's probabilities, both to the power 1 / T and normalized. What is
    reported is of the labels.

    Parameters
    ----------
    temperature : float
        T, above 0
    weight : float
        0 <= weight < 1

    References
    ----------
    Hinton, Vinyals, Dean (2015), Distilling the knowledge in a neural network, section 2.
    """

    def __init__(self, temperature, weight):
        self.temperature, self.weight = temperature, weight

    def targets(self):
        """A Theano variable for a minibatch: the label and the teacher's log p of each class, (inputs, 1 + classes)."""
        return T.matrix("taught")

    def nll(self, probabilities, taught):
        # Of the scores before the softmax: the logarithm of a probability near 0 has a gradient that overflows.
        scores = probabilities.owner.inputs[0]
        logs = T.nnet.logsoftmax(scores)[T.arange(taught.shape[0]), self._labels(taught)]
        teacher = T.nnet.softmax(taught[:, 1:] / self.temperature)
        cross_entropy = -T.mean(T.sum(teacher * T.nnet.logsoftmax(scores / self.temperature), axis=1))
        return (self.weight - 1) * T.mean(logs) + self.weight * self.temperature ** 2 * cross_entropy

    def sums(self, probabilities, taught):
        return Classification().sums(probabilities, self._labels(taught))

    def _labels(self, taught):
        return T.cast(taught[:, 0], "int32")
