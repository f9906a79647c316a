"""Hard concrete gates, their layers and L0's penalty, against the formulas in float64."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import InputLayer, get_output
from scipy.special import expit, logit

from nets import kernels, methods
from nets.layers.gated import GatedConv2DLayer, GatedDenseLayer, expected_gate, kept_probability, sampled_gate
from utils.errors import UserError


class Fixed:
    """Noise that a test hands in."""

    def __init__(self, numbers):
        self.numbers = numbers

    def normal(self, size, dtype=None, ndim=None):
        assert tuple(size) == self.numbers.shape
        return T.constant(self.numbers.astype(dtype))


def gate(log_alpha, normal):
    u = np.exp(-(normal ** 2).sum(0) / 2)
    return np.clip(-0.1 + 1.2 * expit((logit(u) + log_alpha) * 1.5), 0, 1)


@pytest.mark.parametrize("log_alpha, kept, one, mean, prediction", [
    (-2.397895, 0.310176, 0.018048, 0.102718, 0), (0, 0.831822, 0.168178, 0.5, 0.5),
    (1.386294, 0.951887, 0.447123, 0.773599, 0.86), (2.197, 0.978024, 0.645291, 0.878437, 0.979976)])
def test_gates_have_the_distribution_of_the_paper(log_alpha, kept, one, mean, prediction, float64, evaluate):
    value = T.constant(np.float64(log_alpha))
    found = evaluate([kept_probability(value), expected_gate(value), 1 - kept_probability(-value)])
    np.testing.assert_allclose(found, [kept, prediction, one], atol=1e-6)
    normal = T.constant(np.random.RandomState(1).normal(size=(2, 400000)))
    sample, = evaluate([sampled_gate(value, normal)])
    np.testing.assert_allclose([(sample != 0).mean(), (sample == 1).mean(), sample.mean()], [kept, one, mean],
                               atol=3e-3)


def test_the_uniform_numbers_of_gates_are_uniform():
    """Where the gate is its sigmoid, u can be had back from it; the rest is checked by its share."""
    sample = theano.function([], sampled_gate(T.zeros((100000,)), kernels.normal_stream(3).normal((2, 100000))))
    first, second = sample(), sample()
    assert (first != second).mean() > 0.8
    inside = first[(first > 0) & (first < 1)]
    u = expit(logit((inside + 0.1) / 1.2) / 1.5)
    low, high = 1 - 0.831822, 0.831822
    assert u.min() > low - 1e-3 and u.max() < high + 1e-3
    counts = np.histogram(u, 10, (low, high))[0] / len(u)
    np.testing.assert_allclose(counts, 0.1, atol=6e-3)


def test_gradients_of_gates_are_those_of_finite_differences(float64, rng):
    log_alpha, normal = rng.normal(size=40) * 2, rng.normal(size=(2, 40))
    x = T.vector()
    gradient = theano.function([x], T.grad(T.sum(sampled_gate(x, T.constant(normal))), x))
    step = 1e-6
    expected = (gate(log_alpha + step, normal) - gate(log_alpha - step, normal)) / (2 * step)
    np.testing.assert_allclose(gradient(log_alpha), expected, atol=1e-6)
    assert (expected == 0).any() and (expected != 0).any()
    slope = theano.function([x], T.grad(T.sum(kept_probability(x)), x))
    np.testing.assert_allclose(slope([0.0]), [0.139894], atol=1e-6)


def test_no_number_of_the_streams_makes_a_gate_infinite(evaluate):
    normal = np.array([[0, 1e-30, 6.7, 1e-4], [0, 0, 6.7, 0]], "float32")
    x = T.vector()
    z = sampled_gate(x, T.constant(normal))
    for array in evaluate([z, T.grad(T.sum(z), x)], {x: np.zeros(4, "float32")}):
        assert np.isfinite(array).all()


def dense(**keywords):
    lasagne.random.set_rng(np.random.RandomState(1))
    return GatedDenseLayer(InputLayer((None, 5)), 4, W=lasagne.init.Normal(1.0), b=lasagne.init.Normal(1.0),
                           log_alpha=lasagne.init.Normal(2.0), nonlinearity=None, **keywords)


def conv(**keywords):
    lasagne.random.set_rng(np.random.RandomState(1))
    return GatedConv2DLayer(InputLayer((None, 2, 4, 4)), 3, 3, W=lasagne.init.Normal(1.0), b=lasagne.init.Normal(1.0),
                            log_alpha=lasagne.init.Normal(2.0), nonlinearity=None, **keywords)


@pytest.mark.parametrize("kind", ["groups", "weights"])
def test_a_dense_layer_multiplies_its_weights_by_gates(kind, float64, rng, evaluate):
    shape = (5,) if kind == "groups" else (5, 4)
    normal = rng.normal(size=(2, *shape))
    layer = dense(gates=kind, noise=Fixed(normal))
    A, x = rng.normal(size=(6, 5)), T.matrix()
    W, b, log_alpha = (param.get_value() for param in (layer.W, layer.b, layer.gates))
    found = evaluate([get_output(layer, x), get_output(layer, x, deterministic=True)], {x: A})
    for output, z in zip(found, (gate(log_alpha, normal), np.clip(1.2 * expit(log_alpha) - 0.1, 0, 1))):
        np.testing.assert_allclose(output, A @ (W * z.reshape(5, -1)) + b)
        if kind == "groups":    # a gate on an input
            np.testing.assert_allclose(output, (A * z) @ W + b)


def test_a_filter_is_gated_with_its_bias(float64, rng, evaluate):
    normal = rng.normal(size=(2, 3))
    layer = conv(noise=Fixed(normal))
    layer.gates.set_value(np.array([-2.5, 0.3, 9.0]))
    x, A = T.tensor4(), rng.normal(size=(6, 2, 4, 4))
    ungated, sampled, predicted = evaluate(
        [get_output(layer, x, deterministic=True, effective={layer.W: layer.W, layer.b: layer.b}),
         get_output(layer, x), get_output(layer, x, deterministic=True)], {x: A})
    z = gate(layer.gates.get_value(), normal)[:, None, None]
    np.testing.assert_allclose(sampled, ungated * z)
    np.testing.assert_array_equal(predicted[:, 0], 0)
    np.testing.assert_allclose(predicted[:, 1], ungated[:, 1] * (1.2 * expit(0.3) - 0.1))
    np.testing.assert_array_equal(predicted[:, 2], ungated[:, 2])     # as in a dense net


@pytest.mark.parametrize("make, kind", [(dense, "groups"), (dense, "weights"), (conv, "groups"), (conv, "weights")])
def test_the_penalty_is_that_of_each_group_of_weights(make, kind, float64, evaluate):
    layer = make(gates=kind)
    W, kept = layer.W.get_value(), expit(layer.gates.get_value() + 1.598597)
    if kind == "groups":
        kept = np.broadcast_to(kept.reshape(-1, *[1] * (W.ndim - 1)), W.shape)
    expected = evaluate([layer.expected_weights(), layer.expected_squares()])
    np.testing.assert_allclose(expected, [kept.sum(), (kept * W ** 2).sum()], rtol=1e-6)
    assert layer.count_expected() == pytest.approx(kept.sum(), rel=1e-6)


def test_prices_and_decay_make_the_objectives_term(evaluate):
    method = methods.make("l0", l0_weight=[0.5, 2.0], decay=0.25)
    first = method.dense_layer(InputLayer((None, 6)), 4, lasagne.nonlinearities.rectify, "one")
    second = method.dense_layer(first, 2, lasagne.nonlinearities.softmax, "two")
    term, = method.terms(second)
    parts = evaluate([term.value, *(value for layer in (first, second)
                                    for value in (layer.expected_weights(), layer.expected_squares()))])
    assert term.weight(0) == 1
    assert parts[0] == pytest.approx(0.5 * parts[1] + 2 * parts[3] + 0.125 * (parts[2] + parts[4]), rel=1e-5)
    with pytest.raises(UserError, match="--l0-weight"):
        method.check(method.dense_layer(second, 2, lasagne.nonlinearities.softmax, "three"))
    by_weight = methods.make("l0", gates="weights", drop_rate=[0.1], l0_weight=[3.0])
    layer = by_weight.dense_layer(InputLayer((None, 6)), 4, None, "one")
    term, = by_weight.terms(layer)
    value, number = evaluate([term.value, layer.expected_weights()])
    assert value == pytest.approx(3 * number, rel=1e-5) and [term.weight(5), term.weight(20)] == [0, 1]


def test_gates_start_by_drop_rates_and_stay_where_they_can_come_back():
    lasagne.random.set_rng(np.random.RandomState(1))
    method = methods.make("l0", drop_rate=[0.2, 0.5])
    first = method.dense_layer(InputLayer((None, 500)), 400, lasagne.nonlinearities.rectify, "one")
    second = method.dense_layer(first, 2, lasagne.nonlinearities.softmax, "two")
    for layer, expected in ((first, 1.386294), (second, 0)):
        assert layer.gates.get_value().mean() == pytest.approx(expected, abs=2e-3)
    assert first.W.get_value().std() == pytest.approx((2 / 500) ** 0.5, rel=0.02)     # the authors' "fan out"
    updates = {layer.gates: layer.gates + change for layer, change in ((first, 50), (second, -50))}
    clipped = method.step_updates(second, updates)
    found = theano.function([], [clipped[first.gates], clipped[second.gates]])()
    np.testing.assert_allclose(found[0], np.log(100), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.log(0.01), rtol=1e-6)
    with pytest.raises(UserError, match="--drop-rate"):
        methods.make("l0", drop_rate=[0.1, 0.2, 0.3]).dense_layer(InputLayer((None, 5)), 4, None, "one")


def test_open_gates_make_a_dense_layer(evaluate, rng):
    layer = GatedDenseLayer(InputLayer((None, 5)), 4, log_alpha=Constant(30.0), nonlinearity=None)
    x, A = T.matrix(), rng.normal(size=(6, 5)).astype("float32")
    noisy, predicted = evaluate([get_output(layer, x), get_output(layer, x, deterministic=True)], {x: A})
    np.testing.assert_array_equal(noisy, predicted)
    np.testing.assert_allclose(predicted, A @ layer.W.get_value(), rtol=1e-4, atol=1e-5)


def test_an_unknown_kind_of_gates_is_refused():
    with pytest.raises(ValueError, match="gates='units' is not one of groups, weights"):
        GatedDenseLayer(InputLayer((None, 5)), 4, gates="units")
