"""Structured Bayesian Pruning: its formulas against published values and scipy's, its layers against numpy."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_all_layers, get_output
from lasagne.nonlinearities import rectify, softmax
from scipy import stats

from conftest import QUICK
from experiments.common import cli
from nets import methods
from nets.architectures import NETWORKS
from nets.describe import describe
from nets.layers.log_normal import LogNormalConv2DLayer, LogNormalDenseLayer, kl, mean, sampled, snr
from nets.layers.pool import MaxPool2x2Layer
from nets.schedules import Constant
from nets.sparsity import EffectiveParams
from utils import published, tables
from utils.errors import UserError
from utils.export import ExportedNetwork, compact, structure


class Given:
    """Noise that a test hands in, one array a call."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def normal(self, size, dtype=None, ndim=None):
        return T.constant(self.arrays.pop(0).astype(dtype))


@pytest.fixture(scope="module")
def statistics():
    """KL, E theta, SNR, and the gradients of each to mu and log sigma, of float32 parameters."""
    mu, log_sigma = T.vectors("mu", "log_sigma")
    values = [function(mu, log_sigma) for function in (kl, mean, snr)]
    gradients = [T.grad(T.sum(value), [mu, log_sigma]) for value in values]
    function = theano.function([mu, log_sigma], [*values, *sum(gradients, [])], mode="FAST_COMPILE")

    def statistics(mu, log_sigma):
        found = function(*(np.atleast_1d(np.asarray(values, "float32")) for values in (mu, log_sigma)))
        return np.array(found[:3]), np.array(found[3:]).reshape(3, 2, -1)
    return statistics


@pytest.mark.parametrize("mu, log_sigma, divergence, expectation, ratio", [
    (0, -5, 7.269941, 0.994647, 246.699), (0, 0, 2.269941, 0.523157, 2.092439), (-1, 0, 1.893348, 0.360453, 1.488422),
    (-3, 1, 0.860076, 0.123144, 0.615474), (-5, 2, 0.110037, 0.063447, 0.388536),
    (0.5, -1, 3.781417, 0.852821, 7.431451),
    # Where erfcx of a negative argument overflows.
    (-0.1, -5, np.log(20) + 5 - 1.418939, 0.904858, 148.4114)])
def test_kl_mean_and_ratio_are_those_worked_out_before(statistics, mu, log_sigma, divergence, expectation, ratio):
    np.testing.assert_allclose(statistics(mu, log_sigma)[0][:, 0], [divergence, expectation, ratio], rtol=1e-5)


def test_limits(statistics):
    wide, _ = statistics(-7, 5)
    np.testing.assert_allclose(wide[:, 0], [0, 0.05, 1 / 3], atol=5e-4)
    # Bounds far away, where theta is log-normal: its ratio is 1 at sigma = sqrt(log 2).
    inside, _ = statistics(-10, np.log(np.log(2)) / 2)
    sigma = np.sqrt(np.log(2))
    np.testing.assert_allclose(inside[:, 0], [np.log(20 / sigma) - 1.418939, np.exp(-10 + sigma ** 2 / 2), 1],
                               rtol=1e-5)
    for mu, log_sigma in ((0, 0.971222), (-1, 0.722070), (-5, -0.183251)):
        assert statistics(mu, log_sigma)[0][2, 0] == pytest.approx(1, abs=1e-5)


def by_quadrature(mu, sigma):
    """Gauss's, on 400 pieces of [-20, 0]: good for sigma from 0.05 on."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    x = (np.linspace(-20, 0, 401)[:-1, np.newaxis] + 0.025 * (nodes + 1)).ravel()
    log_q = stats.truncnorm.logpdf(x, (-20 - mu) / sigma, (0 - mu) / sigma, mu, sigma)
    q = 0.025 * np.tile(weights, 400) * np.exp(log_q)
    first = q @ np.exp(x)
    return q @ (log_q + np.log(20)), first, first / np.sqrt(q @ (np.exp(x) - first) ** 2)


@pytest.mark.parametrize("mu, log_sigma", [(0, -3), (0.5, -1), (-0.2, -2), (-1, 0.5), (-4, 1.5), (-12, 0), (-19, 1),
                                           (2, -0.5), (-2, 3)])
def test_kl_mean_and_ratio_are_integrals(statistics, mu, log_sigma):
    np.testing.assert_allclose(statistics(mu, log_sigma)[0][:, 0], by_quadrature(mu, np.exp(log_sigma)), rtol=3e-6)


def test_gradients_are_finite_differences_and_finite_everywhere(statistics):
    found = statistics([-3, 0], [1, -5])[1]
    np.testing.assert_allclose(found[0].T, [[0.115095, -0.654715], [59.208, -1]], rtol=1e-5)
    mu, log_sigma = (values.ravel() for values in np.meshgrid(np.linspace(-19, 0.5, 14), np.linspace(-1, 3, 9)))
    _, gradients = statistics(mu, log_sigma)
    step = 2.0 ** -6            # the parameters are float32
    for axis in (0, 1):
        change = np.zeros((2, 1))
        change[axis] = step
        (up, _), (down, _) = (statistics(mu + sign * change[0], log_sigma + sign * change[1]) for sign in (1, -1))
        np.testing.assert_allclose(gradients[:, axis], (up - down) / (2 * step), rtol=5e-3, atol=2e-3)
    # The corners of what training may reach: mu from -20 to 5 sigma, log sigma from -20 to 5.
    corners = [(mu, log_sigma) for log_sigma in (-20, -8, -1, 0, 5) for mu in (-20, -10, 0, 5 * np.exp(log_sigma))]
    values, gradients = statistics(*zip(*corners))
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    assert (values[0] >= 0).all() and (values[2] > 0).all()


def test_samples_are_of_the_truncated_distribution(rng):
    mu, log_sigma = np.array([0, 0.5, -1, -5, 0]), np.array([-5, -1, 0, 2, 4])
    normal, m, s = T.tensor3(), T.vector(), T.vector()
    draw = theano.function([normal, m, s], sampled(m, s, normal), mode="FAST_COMPILE")
    theta = draw(rng.normal(size=(2, 20000, 5)).astype("float32"), mu.astype("float32"), log_sigma.astype("float32"))
    for values, center, sigma in zip(theta.T, mu, np.exp(log_sigma)):
        expected = stats.truncnorm((-20 - center) / sigma, (0 - center) / sigma, center, sigma)
        assert stats.kstest(np.log(values), expected.cdf).pvalue > 1e-3
    # Numbers that no uniform generator should give, at the corners of the parameters.
    extremes = np.array([[0, 1e-20, 6.7], [0, 0, 6.7]], "float32")[:, :, np.newaxis] * np.ones(4, "float32")
    for mu, log_sigma in ((-20, -20), (0, -20), (5 * np.exp(-1), -1), (5 * np.exp(5), 5)):
        theta = draw(extremes, np.full(4, mu, "float32"), np.full(4, log_sigma, "float32"))
        assert ((theta >= np.exp(-20.0) * (1 - 1e-9)) & (theta <= 1)).all()


def test_gradients_of_samples_are_finite_differences(rng, float64):
    normal = rng.normal(size=(2, 6, 5))
    mu, log_sigma = np.array([0, 0.5, -1, -5, 0.2]), np.array([-2, -1, 0, 1, 2.0])
    m, s = T.vectors("m", "s")
    theta = sampled(m, s, T.constant(normal))
    value = theano.function([m, s], T.sum(theta, axis=0), mode="FAST_COMPILE")
    gradient = theano.function([m, s], T.grad(T.sum(theta), [m, s]), mode="FAST_COMPILE")
    step = 1e-6
    np.testing.assert_allclose(gradient(mu, log_sigma), [
        (value(mu + step, log_sigma) - value(mu - step, log_sigma)) / (2 * step),
        (value(mu, log_sigma + step) - value(mu, log_sigma - step)) / (2 * step)], rtol=1e-5)


def theta(noise, normal):
    """Of the noise's parameters and the given normal numbers, by scipy."""
    mu, sigma = noise.mu.get_value(), np.exp(noise.log_sigma.get_value())
    u = np.exp(-(normal ** 2).sum(axis=0) / 2)
    return np.exp(stats.truncnorm((-20 - mu) / sigma, (0 - mu) / sigma, mu, sigma).ppf(u))


def with_noise(layer, rng):
    """Parameters that are not special: some of the inputs are pruned."""
    for noise in layer.noises:
        units = noise.mu.get_value().size
        noise.mu.set_value(rng.uniform(-2, 0, units))
        noise.log_sigma.set_value(rng.permutation(np.linspace(-2.9, 2, units)))
    layer.b.set_value(rng.normal(size=layer.b.get_value().shape))
    return layer


def expected_factors(noise):
    found = [by_quadrature(mu, np.exp(log_sigma))[1:] for mu, log_sigma in zip(noise.mu.get_value(),
                                                                               noise.log_sigma.get_value())]
    return np.array([first if ratio > 1 else 0 for first, ratio in found])


@pytest.mark.parametrize("shared", [False, True])
def test_a_dense_layer_multiplies_its_inputs(shared, float64, rng, evaluate):
    """With channels: by two factors."""
    layer = with_noise(LogNormalDenseLayer(InputLayer((None, 2, 3, 2)), 4, nonlinearity=None, shared=shared), rng)
    images = 1 if shared else 5
    normal = [rng.normal(size=(2, images, units)) for units in (2, 12)]
    layer.noise = Given(*normal)
    A, x = rng.normal(size=(5, 2, 3, 2)), T.tensor4()
    found = evaluate([get_output(layer, x), get_output(layer, x, deterministic=True)], {x: A})
    by_channel, by_unit = theta(layer.channel_noise, normal[0]), theta(layer.unit_noise, normal[1])
    noisy = A * by_channel[:, :, np.newaxis, np.newaxis] * by_unit.reshape(images, 2, 3, 2)
    W, b = layer.W.get_value(), layer.b.get_value()
    np.testing.assert_allclose(found[0], noisy.reshape(5, 12) @ W + b, rtol=1e-6)
    factors = np.repeat(expected_factors(layer.channel_noise), 6) * expected_factors(layer.unit_noise)
    assert (factors == 0).any() and (factors != 0).any()
    np.testing.assert_allclose(found[1], A.reshape(5, 12) @ (W * factors[:, np.newaxis]) + b, rtol=1e-6)


def test_a_convolution_multiplies_its_channels(float64, rng, evaluate):
    layer = with_noise(LogNormalConv2DLayer(InputLayer((None, 4, 5, 5)), 3, 3, pad=1, nonlinearity=None), rng)
    normal = rng.normal(size=(2, 2, 4))
    layer.noise = Given(normal)
    A, x = rng.normal(size=(2, 4, 5, 5)), T.tensor4()
    plain = {layer.W: layer.W}
    outputs = [get_output(layer, x), get_output(layer, x, deterministic=True)]
    noisy, predicted = evaluate(outputs, {x: A})
    for found, factors in ((noisy, theta(layer.channel_noise, normal)),
                           (predicted, expected_factors(layer.channel_noise)[np.newaxis])):
        given = A * factors[:, :, np.newaxis, np.newaxis]
        np.testing.assert_allclose(found, evaluate(get_output(layer, x, deterministic=True, effective=plain),
                                                   {x: given}), rtol=1e-6)


def test_what_is_counted_has_noise():
    """Pixels and units of LeNet-500-300; filters, inputs and units of LeNet-5; filters and units of VGG-like."""
    def noises(name, **keywords):
        net = NETWORKS[name].build(methods.make("sbp"), **keywords)
        layers = [layer for layer in get_all_layers(net) if hasattr(layer, "noises")]
        return [noise.mu.get_value().size for layer in layers for noise in layer.noises]
    assert noises("lenet-500-300") == [784, 500, 300]
    assert noises("lenet-5-caffe") == [20, 50, 800, 500]
    assert noises("vgg-like", k=0.25) == [16, 16, 32, 32, 64, 64, 64] + 6 * [128] + [128]
    assert noises("logistic-regression") == [784]


def small(rng, method=None):
    """A network with padding and pooling, of which filters, places and units are pruned."""
    lasagne.random.set_rng(np.random.RandomState(2))
    method = method or methods.make("sbp")
    method.initial_weights = lasagne.init.Normal(0.3)
    net = method.conv_layer(InputLayer((None, 1, 8, 8), name="input"), 5, 3, rectify, "conv1", pad=1)
    net = method.conv_layer(net, 6, 3, rectify, "conv2", pad=1)
    net = method.dense_layer(MaxPool2x2Layer(net, name="pool"), 12, rectify, "dense1")
    net = method.dense_layer(net, 3, softmax, "dense2")
    for layer in get_all_layers(net):
        for noise in getattr(layer, "noises", ()):
            units = noise.mu.get_value().size
            noise.log_sigma.set_value(np.where(rng.permutation(units) < units // 3, 3, -2).astype("float32"))
        if hasattr(layer, "b"):
            layer.b.set_value(rng.normal(size=layer.b.get_value().shape).astype("float32"))
    return method, net


def test_pruned_units_are_cut_out_and_predictions_stay(rng):
    """At the end, what leads to pruned units alone counts as pruned, too; all of it is what compaction cuts."""
    method, net = small(rng)
    x, effective = T.tensor4(), EffectiveParams(net)
    predict = theano.function([x], get_output(net, x, deterministic=True), mode=QUICK)
    images = rng.normal(size=(20, 1, 8, 8)).astype("float32")
    before, counted = predict(images), effective.count_layers()
    method.finish(net)
    np.testing.assert_array_equal(predict(images), before)
    after = effective.count_layers()
    assert all(one.nonzero < other.nonzero for one, other in zip(after[:-1], counted[:-1]))
    network = ExportedNetwork(describe(net), {name: np.array(value) for name, value in
                                              effective.named_values().items()})
    found, counts = compact(network), structure(network)
    assert abs(found.network.probabilities(images) - before).max() < 1e-5
    # A third of 5, 6, 6 x 16 and 12 is pruned; of the places, only those of filters that are kept count.
    assert [found.units[place] for place in (0, 1, 3)] == [4, 4, 8] and 32 <= found.units[2] < 64
    assert counts["units"] == {"before": [5, 6, 96, 12], "left": found.units}
    assert counts["weights"]["left"] == sum(layer.nonzero for layer in after)
    assert counts["multiplications"]["left"] == (4 * 9 + 4 * 4 * 9) * 64 + found.units[2] * 8 + 8 * 3


def test_networks_that_are_no_chain_are_left_as_they_are(rng):
    method = methods.make("sbp")
    first = method.dense_layer(InputLayer((None, 4)), 4, rectify, "one")
    second = method.dense_layer(first, 4, rectify, "two")
    net = method.dense_layer(lasagne.layers.ElemwiseSumLayer([first, second]), 3, softmax, "three")
    for layer in (second, net):
        layer.unit_noise.log_sigma.set_value(np.full(4, 5, "float32"))
    method.finish(net)
    assert first.W.get_value().all() and second.W.get_value().all()


def test_parameters_stay_where_formulas_are_accurate():
    method = methods.make("sbp")
    net = method.dense_layer(InputLayer((None, 4)), 3, softmax, "one")
    mu, log_sigma = net.unit_noise
    updates = {mu: T.constant(np.array([9, 0.5, -30, 1], "float32")),
               log_sigma: T.constant(np.array([0, -3, -30, 7], "float32"))}
    found = method.step_updates(net, updates)
    values = theano.function([], [found[mu], found[log_sigma]], mode="FAST_COMPILE")()
    np.testing.assert_allclose(values[0], [5, 5 * np.exp(-3), -20, 1], rtol=1e-6)
    np.testing.assert_array_equal(values[1], [0, -3, -20, 5])


def test_a_weight_for_each_kind_of_units(evaluate):
    """Those of LeNet-5 as they are counted: 20-50-800-500."""
    method = methods.make("sbp", log_sigma=0.0, kl_weight=[1.0, 10.0, 100.0, 1000.0])
    term, = method.terms(NETWORKS["lenet-5-caffe"].build(method))
    assert evaluate(term.value) == pytest.approx((20 + 10 * 50 + 100 * 800 + 1000 * 500) * 2.269941, rel=1e-6)


def test_the_term_is_the_kl_of_all_noise_by_layer(evaluate):
    method = methods.make("sbp", log_sigma=0.0, kl_weight=[1.0, 3.0])
    net = method.dense_layer(InputLayer((None, 5)), 4, rectify, "one")
    net = method.dense_layer(net, 2, softmax, "two")
    term, = method.terms(net)
    assert term.weight(0) == 1 and evaluate(term.value) == pytest.approx((5 + 3 * 4) * 2.269941, rel=1e-6)
    with pytest.raises(UserError, match="--kl-weight has 2 numbers"):
        method.check(method.dense_layer(net, 2, softmax, "three"))
    weights, noise = method.groups(net)
    assert [param.name for param in noise.params] == ["one.mu", "one.log_sigma", "two.mu", "two.log_sigma"]
    assert [param.name for param in weights.params] == ["one.W", "one.b", "two.W", "two.b"]


def test_a_start_keeps_the_noise_that_is_there_unless_told_otherwise():
    method = methods.make("sbp", log_sigma=-3.0)
    net = method.dense_layer(InputLayer((None, 5)), 4, softmax, "one")
    net.unit_noise.mu.set_value(np.full(5, -1, "float32"))
    assert method.start(net, [], set()) == ", noise from there too"
    assert (net.unit_noise.mu.get_value() == -1).all()
    assert method.start(net, [], {"log_sigma"}) == ", log sigma = -3"
    assert (net.unit_noise.mu.get_value() == 0).all() and (net.unit_noise.log_sigma.get_value() == -3).all()


def test_published_multiplications_are_those_of_the_networks():
    rows = {(row.network, row.method_title): row for row in published.UNITS}
    for name in ("lenet-500-300", "lenet-5-caffe"):
        net = NETWORKS[name].build(methods.make("dense"))
        network = ExportedNetwork(describe(net), EffectiveParams(net).named_values())
        dense = rows[name, "Dense"]
        assert compact(network).units_before == list(dense.units) == list(dense.units_before)
        assert network.multiplications() == dense.multiplications == dense.multiplications_before
    # The paper's column of FLOPs.
    for method, ratio in (("SparseVD", 3.73), ("SSL", 6.06), ("SBP", 11.23)):
        row = rows["lenet-500-300", method]
        assert row.multiplications_before / row.multiplications == pytest.approx(ratio, abs=0.005)


def test_what_a_run_prints_of_its_units():
    """Beside the paper's, whose 48,550 multiplications are 545,000 / 11.23."""
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [4]},
                               {"kind": "dense", "name": "one", "shape": [3], "nonlinearity": "rectify"},
                               {"kind": "dense", "name": "two", "shape": [2], "nonlinearity": "softmax"}],
                              {"one.W": np.diag([1, 1, 0, 0])[:, :3].astype("float32"),
                               "two.W": np.array([[1, 2], [0, 0], [3, 4]], "float32")})
    found = structure(network)
    assert found["units"] == {"before": [4, 3], "left": [1, 1]}
    assert found["multiplications"] == found["weights"] == {"before": 18, "left": 3}
    text = tables.structure_table({"network": "lenet-500-300", "method": "sbp", "method_title": "SBP",
                                   "structure": found})
    line, paper = (next(line for line in text.splitlines() if name in line) for name in ("this run", "paper"))
    assert "4-3" in line and "1-1" in line and "3 (6.0x fewer)" in line
    assert "245-160-55" in paper and "48,550 (11.2x fewer)" in paper


def test_a_batchs_images_can_share_their_noise():
    experiment = cli.Experiment("made_up", ("lenet-500-300",), "digits", {"sbp": dict(learning_rate=Constant(1e-3))})
    options = cli.parse(experiment, "", ["--kl-weight", "1", "2", "3", "--noise-for", "batch"])
    assert options.method.kl_weight == [1, 2, 3] and options.flags_shown == "--kl-weight 1 2 3 --noise-for batch"
    net = options.network.build(options.method)
    assert [layer.shared for layer in get_all_layers(net) if hasattr(layer, "noises")] == [True] * 3
