"""The mixture of soft weight-sharing, its merger and quantization, against the formulas in float64."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer
from lasagne.nonlinearities import rectify, softmax
from scipy.special import logsumexp
from scipy.stats import norm

from nets import methods
from nets.layers.mixture import Components, Mixture
from nets.methods.sws import coded_bits
from nets.params import named_params


def components(shares, means, deviations):
    return Components(np.array(shares, float), np.array(means, float), np.array(deviations, float) ** -2.0)


def mixture_of(known, dtype="float64"):
    mixture = Mixture(len(known.means), known.shares[0], 1.0, (0, 1))
    mixture.means.set_value(known.means[1:].astype(dtype))
    mixture.log_precisions.set_value(np.log(known.precisions).astype(dtype))
    mixture.scores.set_value(np.log(known.shares[1:]).astype(dtype))
    return mixture


def negative_log(weights, known):
    return -logsumexp(np.log(known.shares) + norm.logpdf(weights[:, None], known.means, known.precisions ** -0.5), 1)


THREE = components([0.99, 0.005, 0.005], [0, 0.3, -0.3], [0.02] * 3)


def test_the_prior_and_its_slope_are_the_references(float64, evaluate):
    mixture = mixture_of(THREE)
    for w, value, slope in ((0, -2.983034, 0), (0.01, -2.858034, 25), (0.15, 25.136928, 371.2312), (0.3, 2.305233, 0),
                            (0.6, 114.805233, 750)):
        x = T.vector()
        prior = mixture.negative_log(x)
        found, gradient = evaluate([prior, T.grad(prior, x)], {x: np.array([float(w)])})
        assert (found, gradient[0]) == pytest.approx((value, slope), abs=1e-4)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-7), ("float32", 2e-3)])
def test_gradients_are_those_of_finite_differences(dtype, tolerance, rng):
    with theano.configparser.change_flags(floatX=dtype):
        known = components([0.9, 0.03, 0.05, 0.02], [0, 0.2, -0.4, 0.5], [0.05, 0.1, 0.03, 0.2])
        mixture = mixture_of(known, dtype)
        weights = theano.shared(rng.normal(size=200).astype(dtype) * np.dtype(dtype).type(0.4))
        params = [weights, mixture.means, mixture.log_precisions, mixture.scores]
        prior = mixture.negative_log(weights)
        value, *gradients = theano.function([], [prior, *T.grad(prior, params)])()

    def at(arrays):
        w, means, logs, scores = arrays
        shares = np.append(known.shares[0], (1 - known.shares[0]) * np.exp(scores - logsumexp(scores)))
        return negative_log(w, Components(shares, np.append(0, means), np.exp(logs))).sum()

    arrays = [param.get_value().astype("float64") for param in params]
    assert value == pytest.approx(at(arrays), rel=tolerance)
    step = 1e-6
    for number, gradient in enumerate(gradients):
        expected = np.zeros_like(arrays[number])
        for index in range(len(expected)):
            moved = [[array.copy() for array in arrays] for _ in range(2)]
            moved[0][number][index] += step
            moved[1][number][index] -= step
            expected[index] = (at(moved[0]) - at(moved[1])) / (2 * step)
        np.testing.assert_allclose(gradient, expected, atol=tolerance * max(1, abs(expected).max()) * 10)


def test_far_from_every_component_nothing_overflows(evaluate):
    mixture = mixture_of(THREE, "float32")
    x = T.vector()
    prior = mixture.negative_log(x)
    value, gradient = evaluate([prior, T.grad(prior, x)], {x: np.array([-40, 40], "float32")})
    assert value == pytest.approx(negative_log(np.array([-40.0, 40.0]), THREE).sum(), rel=1e-5)
    np.testing.assert_allclose(gradient, [-2500 * 39.7, 2500 * 39.7], rtol=1e-5)


def test_two_equal_components_are_a_gaussian_prior(float64, evaluate, rng):
    mixture = mixture_of(components([0.6, 0.4], [0, 0], [0.1, 0.1]))
    weights, x = rng.normal(size=50), T.vector()
    prior = mixture.negative_log(x)
    value, gradient = evaluate([prior, T.grad(prior, x)], {x: weights})
    assert value == pytest.approx(-norm.logpdf(weights, 0, 0.1).sum())
    np.testing.assert_allclose(gradient, 100 * weights)


def test_the_hyper_priors_are_gamma_densities(float64, evaluate):
    """Up to a constant; of a = 5,000, b = 2, the reference is -34112.4061 at its minimum, 2499.5."""
    method = methods.make("sws", components=2)
    layer = method.dense_layer(InputLayer((None, 3)), 2, softmax, "dense1")
    layer.mixture.log_precisions.set_value(np.log([2499.5, 16.0]))
    term, = method.terms(layer)
    without, = methods.make("sws", components=2, hyper_priors=False).terms(layer)
    found, prior = evaluate([term.value, without.value])
    assert term.weight(7) == 0.005
    other = -249 * np.log(16) + 0.1 * 16
    assert found - prior == pytest.approx(-34112.4061 + other, abs=1e-3)


def test_divergences_of_components():
    known = components([0.5, 0.3, 0.2], [0, 0.01, 0], [0.02, 0.02, 0.04])
    found = known.divergences()
    assert (found[0, 1], found[0, 2], found[2, 0]) == pytest.approx((0.125, 0.318147, 0.806853), abs=1e-6)
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-12)


def test_components_that_are_the_same_are_merged():
    known = components([0.9, 0.04, 0.03, 0.02, 0.01], [0, 0.3, 0.3 + 1e-8, 0.3 - 1e-8, -0.2], [0.02] * 5)
    merged = known.merged(1e-10)
    assert len(merged.means) == 3
    order = np.argsort(merged.means)
    np.testing.assert_allclose(merged.means[order], [-0.2, 0, 0.3], atol=1e-7)
    np.testing.assert_allclose(merged.shares[order], [0.01, 0.9, 0.09])
    assert known.merged(0).means == pytest.approx(known.means)      # nothing is below 0
    # Means and precisions have the shares as weights; the mean nearest to 0 becomes 0.
    wide = components([0.6, 0.2, 0.2], [0.1, 1.0, 1.2], [0.1, 0.5, 1.0]).merged(1.0)
    np.testing.assert_allclose(wide.means, [0, 1.1])
    np.testing.assert_allclose(wide.precisions, [100, 2.5])


def test_a_weight_becomes_the_mean_of_its_most_probable_component(rng):
    known = components([0.999, 6.25e-5, 0.001 - 6.25e-5], [0, 0.1, -0.4], [0.02] * 3)
    weights = rng.uniform(-1, 1, (20, 30)).astype("float32")
    scores = np.log(known.shares) + norm.logpdf(weights[..., None], known.means, 0.02)
    np.testing.assert_array_equal(known.quantized(weights), known.means.astype("float32")[scores.argmax(-1)])
    # The boundary between 0 and 0.1 of the reference.
    np.testing.assert_allclose(known.quantized(np.array([0.08871, 0.08873])), [0, 0.1])


def test_predictions_leave_out_the_weights_of_the_component_at_0(rng, evaluate):
    mixture = mixture_of(THREE, "float32")
    weights = rng.uniform(-0.5, 0.5, (30, 20)).astype("float32")
    kept, = evaluate([mixture.kept(T.constant(weights))])
    np.testing.assert_array_equal(kept, THREE.quantized(weights) != 0)


@pytest.fixture
def trained_net(rng):
    """A network and its method as at the end of a training."""
    method = methods.make("sws", components=4)
    net = method.conv_layer(InputLayer((None, 1, 8, 8)), 3, 3, rectify, "conv1")
    net = method.dense_layer(net, 10, rectify, "dense1")
    net = method.dense_layer(net, 5, softmax, "dense2")
    for name, param in named_params(net).items():
        param.set_value(rng.normal(size=param.get_value().shape).astype("float32") * np.float32(0.1))
    known = components([0.9, 0.03, 0.03, 0.04], [0, 0.15, -0.2, 0.3], [0.03, 0.05, 0.05, 0.05])
    own, given = method.state(net), mixture_of(known, "float32")
    for name in ("means", "log_precisions", "scores"):
        own[name].set_value(getattr(given, name).get_value())
    own["means"].set_value(known.means[1:].astype("float32"))
    return method, net


def test_the_end_quantizes_weights_and_leaves_biases(trained_net):
    from nets.sparsity import EffectiveParams
    method, net = trained_net
    before = EffectiveParams(net)
    masked = before.named_values()
    announced = method.row(net)
    method.finish(net)
    values = EffectiveParams(net).named_values()
    for name, param in named_params(net).items():
        np.testing.assert_array_equal(values[name], param.get_value())
        if name.endswith(".b"):
            np.testing.assert_array_equal(values[name], masked[name])
        else:
            assert set(np.unique(values[name])) <= {np.float32(mean) for mean in (0, 0.15, -0.2, 0.3)}
            np.testing.assert_array_equal(values[name] != 0, masked[name] != 0)
    assert method.row(net) == announced and announced["values"] == 3
    method.finish(net)      # once more changes nothing
    assert method.row(net) == announced


def test_the_coded_size_counts_distances_and_numbers_of_values():
    weights = np.zeros(100, "float32")
    assert coded_bits(weights, 4, 5) == 0
    weights[[0, 31, 64]] = 1        # distances 1, 31, 33: the last one takes a zero in between
    assert coded_bits(weights, 4, 5) == 4 * (5 + 2)
    weights[99] = 1
    assert coded_bits(weights, 5, 5) == (4 + 2) * (5 + 3)


def test_coded_compression_of_a_network(trained_net):
    method, net = trained_net
    method.finish(net)
    arrays = [net.input_layer.input_layer.W.get_value(), net.input_layer.W.get_value(), net.W.get_value()]
    bits = 3 * 32 + sum(coded_bits(array, 4, index) for array, index in zip(arrays, (8, 5, 5)))
    assert method.row(net)["coded_compression"] == pytest.approx(32 * sum(array.size for array in arrays) / bits)


def test_each_part_of_the_mixture_has_its_own_rate_and_all_layers_share_it(trained_net):
    method, net = trained_net
    groups = method.groups(net)
    assert [group.factor for group in groups] == [1, 0.2, 6, 6]
    assert groups[1].params == [net.mixture.means] and net.input_layer.input_layer.mixture is net.mixture
    assert len(groups[0].params) == 6
    large = net.mixture.log_precisions + 30
    clipped, = method.step_updates(net, {net.mixture.log_precisions: large}).values()
    np.testing.assert_allclose(theano.function([], clipped)(), np.log(1e6), rtol=1e-6)


def test_means_start_over_the_range_of_the_weights(trained_net):
    method, net = trained_net
    net.W.set_value(np.full((10, 5), 2.0, "float32"))
    net.input_layer.input_layer.W.set_value(np.full((3, 1, 3, 3), -1.0, "float32"))
    assert method.start(net, [], set()) == ", the mixture's means from -1.00 to 2.00"
    np.testing.assert_allclose(net.mixture.means.get_value(), [-1, 0.5, 2])
