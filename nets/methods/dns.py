"""Dynamic network surgery: weights are pruned and spliced back by two thresholds, while all of them go on training."""

import numpy as np
import theano
from lasagne.init import HeUniform
from lasagne.layers import get_all_params

from nets.layers.masked import SplicedConv2DLayer, SplicedDenseLayer, masked_layers
from nets.methods.base import Group, Method
from nets.schedules import LinearWarmUp
from utils.flags import Flag, number

__all__ = ["DNS"]


class DNS(Method):
    """Layers of :class:`nets.layers.masked.SplicedLayer`, trained as the examples of Caffe train LeNets.

    From the begin of `surgery` to its end, `iterations` are counted, as many as were published: at the k-th, a layer's
    masks are renewed with probability (1 + gamma k)^-power, up to the share `stop` of them. Its threshold is the mean
    of its magnitudes + c_rate times their standard deviation, at the begin. The epochs before it train the dense
    network.

    References
    ----------
    Guo, Yao, Chen (2016), Dynamic network surgery for efficient DNNs; values by the authors' code and model files.
    """

    name = "dns"
    title = "DNS"
    prunes = True
    dense_class = SplicedDenseLayer
    conv_class = SplicedConv2DLayer
    initial_weights = HeUniform()     # Caffe's "xavier", U(+-sqrt(3 / inputs))
    flags = (
        Flag("c_rate", [3.0], "a layer's threshold is the mean + X standard deviations of its weights' magnitudes; one "
                              "number for all layers or one each", number, nargs="+"),
        Flag("surgery", LinearWarmUp(11, 38)),
        Flag("iterations", 25000),
        Flag("stop", 0.8),
        Flag("gamma", 1e-4),
        Flag("power", 1.0),
        Flag("momentum", 0.9),
        Flag("weight_decay", 5e-4),
    )
    by_part = {"c_rate": masked_layers}

    def groups(self, net):
        biases = [layer.b for layer in masked_layers(net)]
        others = [param for param in get_all_params(net, trainable=True) if param not in biases]
        return [Group(others), Group(biases, 2.0)]

    def optimizer(self, gradients, params, learning_rate, number, num_examples):
        """Caffe's: weight decay is a part of the gradient, that of biases too, and the rate a part of the momentum."""
        updates = {}
        for param, gradient in zip(params, gradients, strict=True):
            momentum = theano.shared(np.zeros_like(param.get_value()), f"momentum/{param.name}",
                                     broadcastable=param.broadcastable)
            factor, decay, kept = (np.array(value, param.dtype) for value in (1 / num_examples, self.weight_decay,
                                                                              self.momentum))
            updates[momentum] = kept * momentum + learning_rate * (factor * gradient + decay * param)
            updates[param] = param - updates[momentum]
        return updates

    def begin_epoch(self, net, step):
        if step.epoch == round(self.surgery.begin):
            for layer, c_rate in self.of_parts(net, "c_rate"):
                mean, deviation = layer.measured()
                layer.threshold.set_value(np.array(max(mean + c_rate * deviation, 0), layer.threshold.dtype))

    def before_step(self, net, step):
        probability = self.probability(step)
        if probability == 0:
            return
        layers = masked_layers(net)
        draws = np.random.default_rng((step.seed, step.step)).random(len(layers))
        for layer, draw in zip(layers, draws):
            if probability > draw:
                layer.refresh_masks()

    def probability(self, step):
        """That a layer's masks are renewed."""
        share = self.surgery(step.step / step.steps_per_epoch)
        if step.epoch < round(self.surgery.begin) or share >= self.stop:
            return 0.0
        return (1 + self.gamma * share * self.iterations) ** -self.power
