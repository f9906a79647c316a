"""What a network is trained for: the data's term of the objective, and how well it does."""

from collections import namedtuple

import theano.tensor as T

__all__ = ["Classification", "Evaluation"]

#: How well a network does on a set. nll : mean of -log p(target | input) in nats; error_percent : float.
Evaluation = namedtuple("Evaluation", "nll error_percent")


class Classification:
    """Classes of inputs; the network's output is a matrix of probabilities, (inputs, classes), of a softmax."""

    #: What is added up over minibatches, as `sums` gives it.
    NUM_SUMS = 2

    def targets(self):
        """A Theano variable for a minibatch of targets: class numbers, (inputs,), int32."""
        return T.ivector("labels")

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
