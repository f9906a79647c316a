"""Dynamic network surgery against its formulas in float64 numpy, and the authors' figures."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_output
from lasagne.nonlinearities import softmax

from nets import methods
from nets.layers.dense import DenseLayer
from nets.layers.masked import SplicedConv2DLayer, SplicedDenseLayer
from nets.methods.base import Step
from nets.schedules import InverseDecay, LinearWarmUp

STEPS = 1000


def step(number, epochs=25):
    return Step(number, number // STEPS, STEPS, epochs, 1)


def published(stop, iterations=25000):
    """The method as published, with the surgery from the start; an epoch has 1,000 steps here."""
    return methods.make("dns", surgery=LinearWarmUp(0, iterations / STEPS), iterations=iterations,
                        stop=stop / iterations)


def test_masks_are_renewed_as_often_as_published():
    method = published(stop=20000)
    assert [method.probability(step(k)) for k in (0, 1000, 5000, 10000)] == pytest.approx([1, 1 / 1.1, 2 / 3, 0.5])
    assert method.probability(step(19999)) > 0 and method.probability(step(20000)) == 0
    assert sum(method.probability(step(k)) for k in range(25000)) == pytest.approx(10986, abs=1)
    assert sum(published(14000, 16000).probability(step(k)) for k in range(16000)) == pytest.approx(8755, abs=1)


def test_before_the_surgery_there_is_none():
    method = methods.make("dns", surgery=LinearWarmUp(11, 38))
    assert method.probability(step(11 * STEPS - 1)) == 0 and method.probability(step(11 * STEPS)) == 1


def test_the_draws_depend_on_the_step_and_the_layer_alone(monkeypatch):
    method = published(20000)
    net = method.dense_layer(InputLayer((None, 5)), 4, nonlinearity=None, name="dense1")
    net = method.dense_layer(net, 3, nonlinearity=softmax, name="dense2")

    drawn = []
    for layer in (net, net.input_layer):
        monkeypatch.setattr(layer, "refresh_masks", lambda name=layer.name: drawn.append(name))

    def flags(numbers):
        found = {}
        for number in numbers:
            drawn.clear()
            method.before_step(net, step(number))
            found[number] = ["dense1" in drawn, "dense2" in drawn]
        return found
    numbers = range(10000, 10400)
    forward, backward = flags(numbers), flags(reversed(numbers))
    assert forward == backward
    means = np.mean(list(forward.values()), axis=0)
    assert means == pytest.approx([0.5, 0.5], abs=0.1)
    assert any(one != other for one, other in forward.values())


@pytest.mark.parametrize("c_rate", [2.0, -9.0])
def test_the_threshold_is_of_the_magnitudes_of_weights_and_biases_that_are_not_0(c_rate, rng):
    method = methods.make("dns", c_rate=[c_rate], surgery=LinearWarmUp(2, 4))
    net = method.dense_layer(InputLayer((None, 30)), 20, nonlinearity=softmax, name="dense1")
    W, b = rng.normal(size=(30, 20)).astype("float32"), rng.normal(size=20).astype("float32")
    W[:3], b[0] = 0, 0
    net.W.set_value(W), net.b.set_value(b)
    method.begin_epoch(net, step(STEPS))
    assert net.threshold.get_value() == 0
    method.begin_epoch(net, step(2 * STEPS))
    magnitudes = abs(np.concatenate([W[W != 0], b[b != 0]]).astype("float64"))
    mean = magnitudes.mean()
    expected = max(mean + c_rate * np.sqrt((magnitudes ** 2).mean() - mean ** 2), 0)
    assert net.threshold.get_value() == pytest.approx(expected, rel=1e-6)
    net.W.set_value(3 * W)
    method.begin_epoch(net, step(3 * STEPS))       # never again
    assert net.threshold.get_value() == pytest.approx(expected, rel=1e-6)


def layer_of(rng, threshold, inputs=7, units=5):
    layer = SplicedDenseLayer(InputLayer((None, inputs)), units, nonlinearity=softmax, name="dense1",
                              W=lasagne.init.Normal(1.0))
    for param, mask in ((layer.W, layer.mask), (layer.b, layer.mask_b)):
        param.set_value(rng.normal(size=param.get_value().shape))
        mask.set_value((rng.uniform(size=param.get_value().shape) < 0.5).astype(mask.dtype))
    layer.threshold.set_value(np.array(threshold))
    return layer


def renewed(value, mask, threshold):
    mask = mask.copy()
    mask[(mask == 1) & (abs(value) <= 0.9 * threshold)] = 0
    mask[(mask == 0) & (abs(value) > 1.1 * threshold)] = 1
    return mask


def test_masks_change_by_two_thresholds(rng, float64):
    layer = layer_of(rng, threshold=0.8)
    before = [(param.get_value(), mask.get_value()) for param, mask in ((layer.W, layer.mask), (layer.b, layer.mask_b))]
    layer.refresh_masks()
    for (value, mask), found in zip(before, (layer.mask, layer.mask_b)):
        np.testing.assert_array_equal(found.get_value(), renewed(value, mask, 0.8))
    changes = layer.mask.get_value() - before[0][1]
    assert changes.min() == -1 and changes.max() == 1 and layer.mask.dtype == layer.W.dtype


def test_a_step_is_the_dense_layers_with_the_products(rng, float64, evaluate):
    """The products' gradients for those of W and b."""
    layer = layer_of(rng, threshold=0.8)
    W, b, M, Mb = (param.get_value() for param in (layer.W, layer.b, layer.mask, layer.mask_b))
    x, labels = rng.normal(size=(6, 7)), rng.randint(0, 5, 6)
    loss = T.nnet.categorical_crossentropy(get_output(layer, x), labels).mean()
    loss, dW, db = evaluate([loss, *T.grad(loss, [layer.W, layer.b])])
    activation = x @ (W * M) + b * Mb
    p = np.exp(activation) / np.exp(activation).sum(1, keepdims=True)
    assert float(loss) == pytest.approx(-np.log(p[np.arange(6), labels]).mean(), rel=1e-12)
    delta = (p - np.eye(5)[labels]) / 6
    np.testing.assert_allclose(dW, x.T @ delta, rtol=1e-10)      # not 0 where the mask is
    np.testing.assert_allclose(db, delta.sum(0), rtol=1e-10)


def test_weights_that_a_convolution_leaves_out_have_gradients(rng, float64, evaluate):
    """Those of the products, as in dense layers: so they come back."""
    shape, x = (3, 2, 3, 3), rng.normal(size=(4, 2, 6, 6))
    layer = SplicedConv2DLayer(InputLayer((None, 2, 6, 6)), 3, 3, W=rng.normal(size=shape), b=rng.normal(size=3),
                               nonlinearity=None)
    mask = rng.choice([0.0, 1.0], shape)
    layer.mask.set_value(mask)
    weights = rng.normal(size=(4, 3, 4, 4))
    products = theano.shared(layer.W.get_value() * mask)
    expected = T.grad((T.nnet.conv2d(x, products, filter_flip=False) * weights).sum(), products)
    found, expected = evaluate([T.grad((get_output(layer, x) * weights).sum(), layer.W), expected])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (found[mask == 0] != 0).all()


def test_between_the_thresholds_no_mask_changes(rng, float64):
    layer = layer_of(rng, threshold=1.0, inputs=40)
    layer.W.set_value(rng.uniform(0.9001, 1.1, (40, 5)) * rng.choice([-1, 1], (40, 5)))
    before = layer.mask.get_value()
    layer.refresh_masks()
    np.testing.assert_array_equal(layer.mask.get_value(), before)


def test_with_all_masks_1_it_is_the_dense_layer(rng, float64, evaluate):
    layer = layer_of(rng, threshold=0.8)
    for mask in (layer.mask, layer.mask_b):
        mask.set_value(np.ones_like(mask.get_value()))
    x = rng.normal(size=(6, 7))
    dense = DenseLayer(InputLayer((None, 7)), 5, W=layer.W, b=layer.b, nonlinearity=softmax)
    np.testing.assert_allclose(evaluate(get_output(layer, x)), evaluate(get_output(dense, x)), rtol=1e-12)


def test_the_optimizer_is_caffes(rng):
    """v <- 0.9 v + rate (g + 5e-4 w), w <- w - v; the objective's gradient is N times that of the mean."""
    method = methods.make("dns")
    w = theano.shared(rng.normal(size=4).astype("float32"), "w")
    expected, v, gradient = w.get_value().astype("float64"), np.zeros(4), rng.normal(size=4)
    updates = method.optimizer([T.constant((500 * gradient).astype("float32"))], [w], T.constant(np.float32(0.1)), 0,
                               500)
    assert [variable.name for variable in updates] == ["momentum/w", "w"]
    train = theano.function([], updates=list(updates.items()), mode="FAST_COMPILE")
    for _ in range(5):
        train()
        v = 0.9 * v + 0.1 * (gradient + 5e-4 * expected)
        expected = expected - v
    np.testing.assert_allclose(w.get_value(), expected, rtol=1e-5)


def test_biases_learn_twice_as_fast_and_weights_start_as_caffes():
    lasagne.random.set_rng(np.random.RandomState(1))
    method = methods.make("dns")
    net = method.dense_layer(InputLayer((None, 300)), 100, nonlinearity=softmax, name="dense1")
    weights, biases = method.groups(net)
    assert (weights.params, weights.factor, biases.params, biases.factor) == ([net.W], 1, [net.b], 2)
    assert 0.099 < abs(net.W.get_value()).max() <= 0.1       # sqrt(3 / 300)


def test_the_rate_begins_again_with_the_surgery():
    rate = InverseDecay(0.01, rate=0.1, power=0.75, restart=11)
    assert rate(0) == rate(11) == 0.01
    assert rate(10) == pytest.approx(0.01 * 2 ** -0.75) and rate(21) == rate(10)
    assert rate.stretched(2)(20) == rate(10) and rate.stretched(2)(22) == 0.01
