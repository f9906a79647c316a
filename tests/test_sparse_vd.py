import lasagne
import numpy as np
import pytest
import theano.tensor as T
from lasagne.layers import InputLayer, get_output
from scipy.special import log_softmax

import reference
from conftest import GivenNoise
from nets.tasks import Classification
from nets.layers.sparse_vd import SparseVDDenseLayer


@pytest.fixture
def values(rng):
    """Parameters of a 6x4 layer whose log alpha lies on both sides of the threshold and of both clips."""
    W = rng.normal(size=(6, 4))
    log_alpha = np.tile([-9.5, -4.0, -1.0, 2.5, 3.5, 9.0], 4).reshape(6, 4)
    return dict(W=W, log_sigma2=log_alpha + np.log(W ** 2 + 1e-8), b=rng.normal(size=4))


@pytest.mark.parametrize("train_clip", [True, False])
@pytest.mark.parametrize("threshold", [3.0, 0.0])
def test_noisy_output_is_numpys(values, rng, float64, evaluate, train_clip, threshold, graph):
    A, noise = T.matrix(), T.matrix()
    layer = SparseVDDenseLayer((None, 6), noise=GivenNoise(noise), num_units=4, train_clip=train_clip,
                               threshold=threshold,
                             nonlinearity=None, **values)
    inputs, eps = rng.normal(size=(5, 6)), rng.normal(size=(5, 4))
    found = evaluate(layer.get_output_for(A), {A: inputs, noise: eps})
    np.testing.assert_allclose(found, reference.noisy_output(inputs, noise=eps, threshold=threshold,
                                                             train_clip=train_clip, **values), rtol=1e-10)


@pytest.mark.parametrize("threshold, kept", [(3.0, 16), (-0.5, 12), (-20.0, 0), (20.0, 24)])
def test_prediction_uses_pruned_weights(values, rng, float64, evaluate, threshold, kept):
    A = T.matrix()
    layer = SparseVDDenseLayer((None, 6), 4, threshold=threshold, **values)
    inputs = rng.normal(size=(5, 6))
    mask = reference.log_alpha(values["W"], values["log_sigma2"]) < threshold
    assert mask.sum() == kept
    np.testing.assert_array_equal(evaluate(layer.get_mask()), mask)
    np.testing.assert_allclose(evaluate(layer.get_output_for(A, deterministic=True), {A: inputs}),
                               np.maximum(inputs @ (values["W"] * mask) + values["b"], 0), rtol=1e-10)


def test_a_weight_at_the_threshold_is_pruned(float64, evaluate):
    layer = SparseVDDenseLayer((None, 1), 2, W=np.ones((1, 2)), threshold=8.0,
                               log_sigma2=np.array([[9.0, 7.9]]))
    np.testing.assert_array_equal(evaluate(layer.get_mask()), [[0, 1]])


def test_gradient_of_the_whole_objective_is_the_finite_difference(rng, float64, evaluate):
    sizes, kl_weight, num_examples = (5, 4, 3), 0.7, 50
    images, labels = 0.1 * rng.normal(size=(8, 5)), rng.randint(0, 3, 8).astype("int32")
    eps = [0.1 * rng.normal(size=(8, size)) for size in sizes[1:]]
    # Away from kinks: log alpha is neither near the threshold nor near the clips, but on all sides of them.
    params = []
    for inputs, units in zip(sizes, sizes[1:]):
        W = rng.uniform(0.3, 1, (inputs, units)) * rng.choice([-1, 1], (inputs, units))
        log_alpha = rng.choice([-9.0, -3.0, 1.0, 5.0, 9.0], (inputs, units))
        params += [W, log_alpha + np.log(W ** 2), rng.normal(size=units)]

    def reference_loss(W1, s1, b1, W2, s2, b2):
        hidden = np.maximum(reference.noisy_output(images, W1, b1, s1, eps[0]), 0)
        logits = reference.noisy_output(hidden, W2, b2, s2, eps[1])
        log_p = log_softmax(logits, axis=1)
        kl = reference.kl(W1, s1) + reference.kl(W2, s2)
        return -num_examples * log_p[np.arange(8), labels].mean() + kl_weight * kl

    x, y, noises = T.matrix(), T.ivector(), [T.matrix(), T.matrix()]
    net = InputLayer((None, 5))
    for number, nonlinearity in enumerate([lasagne.nonlinearities.rectify, lasagne.nonlinearities.softmax]):
        W, log_sigma2, b = params[3 * number:3 * number + 3]
        net = SparseVDDenseLayer(net, noise=GivenNoise(noises[number]), num_units=sizes[number + 1], W=W,
                                 log_sigma2=log_sigma2, b=b, nonlinearity=nonlinearity)
    kl = sum(layer.get_kl() for layer in (net, net.input_layer))
    loss = num_examples * Classification().nll(get_output(net, x), y) + kl_weight * kl
    variables = lasagne.layers.get_all_params(net, trainable=True)
    found_loss, *gradients = evaluate([loss, *T.grad(loss, variables)],
                                      {x: images, y: labels, noises[0]: eps[0], noises[1]: eps[1]})

    assert found_loss == pytest.approx(reference_loss(*params), rel=1e-10)
    step = 1e-6
    checked = 0
    for variable, gradient in zip(variables, gradients):
        position = [i for i, value in enumerate(params) if np.array_equal(value, variable.get_value())][0]
        for index in np.ndindex(*gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = [value.copy() for value in params]
                moved[position][index] += sign * step
                ends.append(reference_loss(*moved))
            assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-4)
            checked += 1
    assert checked == 2 * (5 * 4 + 4 * 3) + 4 + 3


def test_local_reparameterization_has_the_moments_of_sampled_weights(rng, float64, evaluate):
    draws = 40000
    W, inputs = rng.uniform(0.5, 1, (6, 4)) * rng.choice([-1, 1], (6, 4)), rng.normal(size=6)
    log_alpha = rng.uniform(-4, 1, (6, 4))
    lasagne.random.set_rng(np.random.RandomState(1))
    layer = SparseVDDenseLayer((None, 6), 4, W=W, log_sigma2=log_alpha + np.log(W ** 2), nonlinearity=None)
    A = T.matrix()
    found = evaluate(layer.get_output_for(A), {A: np.tile(inputs, (draws, 1))})

    weights = W + np.exp(0.5 * log_alpha) * abs(W) * rng.normal(size=(draws, 6, 4))
    sampled = np.einsum("i,dij->dj", inputs, weights)
    spread = sampled.std(0)
    np.testing.assert_allclose(found.mean(0), sampled.mean(0), atol=5 * spread.max() * np.sqrt(2 / draws))
    np.testing.assert_allclose(found.var(0), sampled.var(0), rtol=5 * np.sqrt(4 / draws))
    # Independent between units: the local trick's noise is per pre-activation.
    correlation = np.corrcoef(found.T) - np.eye(4)
    assert abs(correlation).max() < 5 / np.sqrt(draws)


def test_the_clip_leaves_some_noise(values, rng, float64, evaluate):
    A, W = T.matrix(), values["W"]
    inputs, noise = rng.normal(size=(50, 6)), rng.normal(size=(50, 4))
    weights = dict(W=W, b=None, log_sigma2=np.full(W.shape, -200.0), nonlinearity=None, noise=GivenNoise(noise))
    found = evaluate(SparseVDDenseLayer((None, 6), 4, **weights).get_output_for(A), {A: inputs})
    # exp(-4) of each weight's size.
    np.testing.assert_allclose(found - inputs @ W, noise * np.exp(-4) * np.sqrt(inputs ** 2 @ W ** 2), rtol=1e-3)


def test_weights_of_0_have_finite_gradients(evaluate):
    x, y = T.matrix(), T.ivector()
    net = SparseVDDenseLayer(InputLayer((None, 6)), 4, W=lasagne.init.Constant(0.0),
                             nonlinearity=lasagne.nonlinearities.softmax)
    loss = 100 * Classification().nll(get_output(net, x), y) + net.get_kl()
    gradients = evaluate(T.grad(loss, [net.W, net.log_sigma2, net.b]),
                         {x: np.zeros((2, 6), "float32"), y: np.array([0, 1], "int32")})
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_images_are_flattened(rng, evaluate):
    A = T.tensor4()
    layer = SparseVDDenseLayer((None, 1, 2, 3), 4, nonlinearity=None)
    images = rng.normal(size=(5, 1, 2, 3)).astype("float32")
    assert layer.output_shape == (None, 4)
    found = evaluate(layer.get_output_for(A, deterministic=True), {A: images})
    mask = evaluate(layer.get_mask())
    np.testing.assert_allclose(found, images.reshape(5, 6) @ (layer.W.get_value() * mask), atol=1e-6)


@pytest.mark.parametrize("deterministic", [True, False])
def test_both_parameterizations_are_the_same_posterior_to_begin_with(values, rng, float64, evaluate, deterministic):
    A, noise = T.matrix(), T.matrix()
    inputs, eps = rng.normal(size=(5, 6)), rng.normal(size=(5, 4))
    found = []
    for parameterization in ("additive", "multiplicative"):
        layer = SparseVDDenseLayer((None, 6), noise=GivenNoise(noise), num_units=4, parameterization=parameterization,
                                   **values)
        outputs = [layer.get_output_for(A, deterministic=deterministic), layer.get_kl(), layer.get_mask()]
        found.append(evaluate(outputs, {A: inputs, noise: eps}))
    for additive, multiplicative in zip(*found):
        np.testing.assert_allclose(multiplicative, additive, rtol=1e-10)
    assert [param.name for param in layer.get_params()] == ["W", "b", "log_alpha"]


def test_multiplicative_noise_goes_with_theta_and_additive_noise_does_not(float64, evaluate):
    """d activation / d theta = A + 2 A^2 alpha theta eps / (2 std): the second term is the multiplicative one's."""
    A, eps, W, log_alpha = 0.7, 1.3, 0.4, -0.5
    gradients = {}
    for parameterization in ("additive", "multiplicative"):
        layer = SparseVDDenseLayer((None, 1), noise=GivenNoise([[eps]]), num_units=1, W=np.array([[W]]),
                                   nonlinearity=None,
                                 log_sigma2=np.array([[log_alpha + np.log(W ** 2 + 1e-8)]]),
                                 parameterization=parameterization)
        gradients[parameterization] = evaluate(T.grad(T.sum(layer.get_output_for(T.constant([[A]]))), layer.W)).item()
    assert gradients["additive"] == pytest.approx(A, rel=1e-6)
    std = np.sqrt(A ** 2 * np.exp(log_alpha) * W ** 2)
    assert gradients["multiplicative"] == pytest.approx(A + eps * A ** 2 * np.exp(log_alpha) * W / std, rel=1e-6)


@pytest.mark.parametrize("parameterization", ["additive", "multiplicative"])
def test_log_sigma2_can_be_set(values, float64, evaluate, parameterization):
    layer = SparseVDDenseLayer((None, 6), 4, parameterization=parameterization, **values)
    layer.set_log_sigma2(-2.0)
    np.testing.assert_allclose(evaluate(layer.posterior.log_alpha), reference.log_alpha(values["W"], -2.0), rtol=1e-10)


def test_multiplicative_noise_starts_where_log_alpha_has_a_gradient(evaluate):
    """However small theta is: nothing but its own gradient moves log alpha."""
    layer = SparseVDDenseLayer(InputLayer((None, 3)), 2, W=np.array([[0, 1e-3], [1e-5, 0.5], [3, 1e-9]], "float32"),
                               log_sigma2=lasagne.init.Constant(-3.0), parameterization="multiplicative")
    assert layer.posterior.log_alpha.eval().max() == 8
    assert (evaluate(T.grad(layer.posterior.kl, layer.log_alpha)) != 0).all()


def test_there_is_no_third_parameterization():
    with pytest.raises(ValueError, match="additive, multiplicative"):
        SparseVDDenseLayer((None, 6), 4, parameterization="subtractive")
