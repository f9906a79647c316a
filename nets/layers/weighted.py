"""Layers with weights: what the rest of the project asks of them, and what dense and convolutional ones share."""

from lasagne.layers import Layer
from lasagne.nonlinearities import identity

__all__ = ["WeightedLayer", "LinearLayer"]


class WeightedLayer(Layer):
    """Base of all layers with weights, whatever the method.

    A dense net of the same architecture that holds the values of :meth:`effective_params` predicts the same, bit for
    bit. Whoever makes many predictions evaluates these values once and hands them in:
    `get_output(net, x, deterministic=True, effective={param: variable})`. Parameters that a pruned net does without
    have the tag `training_only`.
    """

    @property
    def weights(self):
        """The shared variables whose elements count as weights; biases do not."""
        return [self.W]

    def effective_params(self):
        """What predictions use in place of stored parameters, pruned weights as 0: {shared variable: expression}."""
        return {}

    def effective(self, param, effective=None):
        """What a prediction uses for a parameter: what was handed in, or else the layer's own expression, or itself.

        Parameters
        ----------
        param : Theano shared variable
        effective : dict or None
            the argument of `get_output_for`
        """
        return (effective or {}).get(param, self.effective_params().get(param, param))


class LinearLayer(WeightedLayer):
    """Base of the layers with one linear map: nonlinearity(f(A; W) + b).

    Parameters
    ----------
    incoming : a :class:`lasagne.layers.Layer` or a tuple
        the layer feeding into this layer, or the expected input shape
    linear : callable(input_shape) of the linear map
        the map is a :class:`nets.layers.dense.Product` or a :class:`nets.layers.conv.Convolution`
    W : Theano shared variable, expression, numpy array or callable
        initial weights, of the map's `weights_shape`
    b : Theano shared variable, expression, numpy array, callable or None
        initial biases, of shape (outputs,); None leaves them out
    nonlinearity : callable or None
        None is the identity
    **kwargs
        see :class:`lasagne.layers.Layer`
    """

    def __init__(self, incoming, linear, W, b, nonlinearity, **kwargs):
        super().__init__(incoming, **kwargs)
        self.linear = linear(self.input_shape)
        self.nonlinearity = identity if nonlinearity is None else nonlinearity
        self.W = self.add_param(W, self.linear.weights_shape, name="W")
        biases_shape = (self.linear.num_outputs,)
        self.b = None if b is None else self.add_param(b, biases_shape, name="b", regularizable=False)

    def get_output_shape_for(self, input_shape):
        return self.linear.output_shape(input_shape)

    def get_output_for(self, input, effective=None, **kwargs):
        activation = self.linear(input, self.effective(self.W, effective))
        if self.b is not None:
            b = self.effective(self.b, effective)
            activation = activation + b.dimshuffle("x", 0, *"x" * (activation.ndim - 2))
        return self.nonlinearity(activation)
