"""What training minimizes."""

import theano.tensor as T
from lasagne.layers import get_all_layers

__all__ = ["kl_divergence", "negative_log_likelihood", "negative_sgvlb"]


def kl_divergence(net):
    """The sum of KL(q || p) over all weights of all layers that have a posterior; a Theano scalar, 0 for dense nets.

    A layer has a posterior if it has a method `get_kl`.
    """
    return T.as_tensor_variable(sum((layer.get_kl() for layer in get_all_layers(net) if hasattr(layer, "get_kl")),
                                    T.constant(0.0, dtype="float32")))


def negative_log_likelihood(probabilities, labels):
    """The mean of -log p(label | image) over a batch in nats; a Theano scalar.

    Parameters
    ----------
    probabilities : Theano matrix
        (images, classes), the output of a softmax
    labels : Theano int vector
        (images,), class numbers
    """
    return T.mean(T.nnet.categorical_crossentropy(probabilities, labels))


def negative_sgvlb(likelihood_loss, kl, num_examples, kl_weight):
    """The negative stochastic gradient variational lower bound, N/B sum -log p(y | x) + rw KL; a Theano scalar.

    Parameters
    ----------
    likelihood_loss : Theano scalar
        the batch's mean of -log p(y | x), from noisy predictions
    kl : Theano scalar
        the sum of KL(q || p) over all weights
    num_examples : int
        N, the size of the training set
    kl_weight : Theano scalar or float
        rw, the warm-up weight of the KL term

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 3 on stochastic variational inference; the warm-up is of section 5.
    """
    return num_examples * likelihood_loss + kl_weight * kl
