"""How much the noise of the weights scatters the gradient to theta: what additive noise is there to reduce."""

import numpy as np
import theano
import theano.tensor as T
from lasagne.layers import get_all_layers, get_output

from nets.sparsity import weight_layers
from nets.tasks import Classification

__all__ = ["GradientNoise"]


class GradientNoise:
    """Draws the gradients of a network's objective to theta, for one batch and ever new noise.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        output layer of a network with SparseVD layers
    method : :class:`nets.methods.base.Method`
        that the layers are of
    num_examples : int
        size of the training set, N; gradients are of the negative lower bound by training image, with KL weight 1

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 4.1, additive noise reparameterization.
    """

    def __init__(self, net, method, num_examples, task=Classification()):
        self.layers = weight_layers(net)
        shape = get_all_layers(net)[0].shape
        inputs, targets = T.TensorType(theano.config.floatX, (False,) * len(shape))("inputs"), task.targets()
        loss = task.nll(get_output(net, inputs), targets) + sum(term.value for term in method.terms(net)) / num_examples
        self._gradients = theano.function([inputs, targets], T.grad(loss, [layer.W for layer in self.layers]))

    def set_posterior(self, layers):
        """Takes theta, log sigma^2 and biases of the layers of another network of the same architecture."""
        for own, other in zip(self.layers, layers, strict=True):
            own.W.set_value(other.W.get_value())
            own.b.set_value(other.b.get_value())
            own.set_log_sigma2(other.get_log_sigma2())

    def variances(self, images, labels, draws, progress=None):
        """The variance of a weight's gradient over `draws` draws of the noise, averaged over each layer's weights.

        Returns
        -------
        list of float
            by layer
        """
        means = sums = [0.0] * len(self.layers)
        for number in range(1, draws + 1):
            drawn = [gradient.astype(np.float64) for gradient in self._gradients(images, labels)]
            # Welford's update: squares of sums would cancel.
            deltas = [value - mean for value, mean in zip(drawn, means)]
            means = [mean + delta / number for mean, delta in zip(means, deltas)]
            sums = [total + delta * (value - mean) for total, delta, value, mean in zip(sums, deltas, drawn, means)]
            if progress:
                progress.update()
        return [float(np.mean(total)) / (draws - 1) for total in sums]
