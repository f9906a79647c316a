import json

import numpy as np
import pytest
from theano.configparser import change_flags

import data
import scripts
from experiments import gradient_variance
from nets import methods
from nets.architectures import logistic_regression
from nets.training.gradient_noise import GradientNoise
from nets.training.trainer import seed_generators

N, B, INPUTS, CLASSES, DRAWS = 50, 8, 6, 3, 3000


@pytest.fixture
def posterior(rng):
    """theta, log sigma^2, bias, images and labels; no log alpha reaches the threshold or a clip."""
    theta = rng.normal(size=(INPUTS, CLASSES))
    theta += np.sign(theta)
    return (theta, rng.uniform(-2, 0, theta.shape), rng.normal(size=CLASSES), rng.normal(size=(B, INPUTS)),
            rng.randint(0, CLASSES, B))


def reference(parameterization, theta, log_sigma2, b, x, labels, rng):
    """Variances of the gradient by Monte Carlo in numpy: one layer, derived by hand."""
    sigma2 = np.exp(log_sigma2)
    noise = rng.normal(size=(20000, B, CLASSES))
    deviation = np.sqrt(x ** 2 @ sigma2)
    z = x @ theta + b + deviation * noise
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    dz = (p - np.eye(CLASSES)[labels]) / B
    gradient = np.einsum("bi,sbc->sic", x, dz)
    if parameterization == "multiplicative":
        # The variance is sum of x^2 alpha theta^2, whose derivative to theta is 2 x^2 alpha theta.
        gradient += np.einsum("bi,sbc->sic", x ** 2, dz * noise / deviation) * sigma2 / theta
    return gradient.var(axis=0).mean()


@pytest.mark.parametrize("parameterization", ["additive", "multiplicative"])
def test_the_variance_is_that_of_the_gradient_derived_by_hand(float64, rng, posterior, parameterization):
    theta, log_sigma2, b, x, labels = posterior
    seed_generators(3)
    method = methods.make("sparse-vd", parameterization=parameterization)
    net = logistic_regression(method, (1, 2, 3), CLASSES)
    with change_flags(mode="FAST_COMPILE"):
        noise = GradientNoise(net, method, N)
    layer = noise.layers[0]
    layer.W.set_value(theta)
    layer.b.set_value(b)
    layer.set_log_sigma2(log_sigma2)
    found, = noise.variances(x.reshape(B, 1, 2, 3), labels.astype("int32"), DRAWS)
    assert found == pytest.approx(reference(parameterization, *posterior, rng), rel=0.1)


def test_it_is_measured_with_the_values_of_the_trained_network(monkeypatch):
    found = []
    monkeypatch.setattr(gradient_variance, "GradientNoise", lambda net, method, number: found.append(method))
    trained = methods.make("sparse-vd", threshold=1.0, kl="first-version", train_clip=False)
    gradient_variance.noise_of("multiplicative", trained, data.load("digits"))
    assert methods.described(found[0]) == {**methods.described(trained), "parameterization": "multiplicative"}


def test_both_parameterizations_are_measured_at_the_same_weights(tmp_path):
    result = scripts.run("gradient_variance", "--dataset", "digits", "--epochs", 1, "--output", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "run" / "gradient_variance.json").read_text())["rows"]
    assert [(row["epoch"], row["layer"]) for row in rows] == [
        (epoch, layer) for epoch in (0, 1) for layer in ("dense1", "dense2", "dense3")]
    last = [row["multiplicative"] / row["additive"] for row in rows[-3:]]
    assert min(last) > 1 and f"{last[-1]:.3g}" in result.stdout.splitlines()[-1]
