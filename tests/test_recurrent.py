"""LSTM, embedding and output layers: vectors computed elsewhere, how long noise lives, groups, and what is cut."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_output

import reference
from conftest import GivenNoise
from nets import methods
from nets.architectures import char_lstm, text_lstm, word_lstm
from nets.layers.embedding import SparseVDEmbeddingLayer
from nets.layers.lstm import LSTMLayer, SparseVDLSTMLayer
from nets.layers.output import SAMPLES, SparseVDOutputLayer
from nets.params import named_params
from nets.sparsity import EffectiveParams, posteriors
from utils.errors import UserError

#: The LSTM of the vectors: two inputs, two units, three steps; gates in the order i, f, c, o.
INPUTS = np.array([[[1, 0.5], [-1, 0.25], [0.5, 1]]])
W_X = np.concatenate([[[0.1 * (g + 1) - 0.2 * i + 0.3 * j for j in range(2)] for i in range(2)] for g in range(4)], 1)
W_H = np.concatenate([[[0.2 - 0.1 * g + 0.1 * i - 0.2 * j for j in range(2)] for i in range(2)] for g in range(4)], 1)
Z_X, Z_H = np.array([1.1, 0.9]), np.array([0.8, 1.2])
Z_G = np.array([1 + 0.1 * g - 0.2 * j for g in range(4) for j in range(2)])
ONES = np.ones(2), np.ones(2), np.ones(8)
FORGET_SHUT = np.where(np.arange(8) // 2 == 1, 0.0, 1.0)


@pytest.fixture(autouse=True)
def in_python(monkeypatch):
    """Scan's loop, too: compiling it takes a minute."""
    monkeypatch.setattr(theano.config, "mode", "FAST_COMPILE")


class NoNoise:
    """Zeros for normal numbers."""

    def normal(self, size, dtype=None, ndim=None):
        return T.zeros(size, dtype)


def vector_layer(z=ONES, hard=False, masked=False, groups="xhg"):
    """The layer of the vectors, of float64."""
    lasagne.random.set_rng(np.random.RandomState(1))
    tokens = InputLayer((None, 3), T.imatrix(), name="tokens") if masked else None
    layer = SparseVDLSTMLayer(InputLayer((None, 3, 2), T.dtensor3()), 2, tokens=tokens, W_x=W_X, W_h=W_H,
                              forget_bias=1.0, hard=hard, groups=groups, noise=NoNoise(), name="lstm")
    for own, value in zip((layer.z_x, layer.z_h, layer.z_g), z):
        if own:
            own.theta.set_value(value)
    return layer


@pytest.mark.parametrize("values, expected", [
    (dict(), (0.07254152, 0.26906045)),
    (dict(z=(Z_X, Z_H, Z_G)), (0.07112772, 0.3008912)),
    (dict(z=(Z_X, Z_H, Z_G), hard=True), (0.06551948, 0.26705424)),
    (dict(masked=True), (0.01231938, 0.14594012)),
    (dict(z=(np.ones(2), np.ones(2), FORGET_SHUT)), (0.07502895, 0.28227857))])
def test_the_vectors(values, expected, float64, evaluate, graph):
    """In training without noise, where z is apart, and in prediction, where it is part of the weights."""
    layer = vector_layer(**values)
    inputs = {layer.input_layers[0]: T.constant(INPUTS)}
    if layer.masked:
        inputs[layer.input_layers[1]] = T.constant(np.array([[0, 1, 1]], "int32"))
    training, prediction = evaluate([get_output(layer, inputs), get_output(layer, inputs, deterministic=True)])
    np.testing.assert_allclose(training[0, -1], expected, atol=1e-8)
    # What comes next has z of the outputs in its weights.
    np.testing.assert_allclose(prediction[0, -1] * values.get("z", ONES)[1], expected, atol=1e-8)


def test_kl_of_the_vectors(float64, evaluate):
    layer = vector_layer((Z_X, Z_H, Z_G))
    found = evaluate([own.kl for own in layer.posteriors])
    np.testing.assert_allclose(found, [34.764116, 19.785683, 7.262850, 7.232099, 29.398123], atol=1e-5)
    for own, kl in zip(layer.posteriors, found):
        assert reference.kl(own.theta.get_value(), own.get_log_sigma2()) == pytest.approx(kl)


@pytest.mark.parametrize("kind", ["prediction", "training"])
def test_streams_of_either_kind_go_on_and_leave_the_other_alone(kind, float64):
    layer = SparseVDLSTMLayer(InputLayer((None, 3, 2), T.dtensor3()), 2, W_x=W_X, W_h=W_H, forget_bias=1.0, streams=1,
                              noise=NoNoise(), name="l")
    x = T.dtensor3()
    run = theano.function([x], get_output(layer, x, deterministic=kind == "prediction"), mode="FAST_COMPILE")
    whole = run(INPUTS)
    layer.reset()
    np.testing.assert_allclose(np.concatenate([run(INPUTS[:, :2]), run(INPUTS[:, 2:])], axis=1), whole, rtol=1e-12)
    other, = set(layer._states) - {kind}
    assert all(state.get_value().any() for state in layer._states[kind])
    assert not any(state.get_value().any() for state in layer._states[other])


def test_streams_go_on_from_batch_to_batch(float64):
    """Two batches are one long sequence; the state is the vectors' c, too."""
    layer = LSTMLayer(InputLayer((None, 3, 2), T.dtensor3()), 2, W_x=W_X, W_h=W_H, forget_bias=1.0, streams=1, name="l")
    x = T.dtensor3()
    run = theano.function([x], get_output(layer, x, deterministic=True), mode="FAST_COMPILE")
    whole = run(INPUTS)
    np.testing.assert_allclose(layer._states["prediction"][1].get_value(), [[0.12176905, 0.40533073]], atol=1e-8)
    layer.reset()
    np.testing.assert_array_equal(np.concatenate([run(INPUTS[:, :2]), run(INPUTS[:, 2:])], axis=1), whole)
    layer.reset()
    np.testing.assert_array_equal(run(INPUTS), whole)


@pytest.mark.parametrize("groups, equal", [("", True), ("x", False), ("h", False), ("g", False)])
def test_equal_sequences_differ_by_their_groups_noise_alone(groups, equal, evaluate):
    lasagne.random.set_rng(np.random.RandomState(1))
    layer = SparseVDLSTMLayer(InputLayer((None, 4), T.imatrix()), 3, num_inputs=5, groups=groups, name="lstm")
    draw = evaluate.function([get_output(layer, T.constant(np.array([[1, 2, 1, 4]] * 2, "int32")))], {})
    (first,), (second,) = draw(), draw()
    assert (first[0] == first[1]).all() == equal
    assert (first != second).any()


def test_equal_words_share_their_noise(evaluate):
    """W's in the minibatch, z's in the document."""
    lasagne.random.set_rng(np.random.RandomState(1))
    layer = SparseVDEmbeddingLayer(InputLayer((None, 3), T.imatrix()), 6, 4, group=True, name="embedding")
    found = evaluate(get_output(layer, T.constant(np.array([[3, 1, 3], [3, 2, 2]], "int32"))))
    np.testing.assert_array_equal(found[0, 0], found[0, 2])
    ratio = found[1, 0] / found[0, 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert abs(ratio[0] - 1) > 1e-6


@pytest.mark.parametrize("noise_for, correlation", zip(SAMPLES, (0.0, 1.0, 0.596285)))
def test_noise_of_two_steps(noise_for, correlation, evaluate):
    """Variances are the same however long a sample lives; what steps have in common is not."""
    lasagne.random.set_rng(np.random.RandomState(2))
    layer = SparseVDOutputLayer(InputLayer((None, 2, 3)), 400, W=np.ones((3, 400), "float32"), nonlinearity=None,
                                log_sigma2=np.log([[0.1], [0.2], [0.3]] * np.ones(400)).astype("float32"),
                                noise_for=noise_for, name="output")
    draw = evaluate.function([get_output(layer, T.constant(np.array([[[1, 2, 0], [0, 1, 1]]], "float32")))], {})
    drawn = np.concatenate([draw()[0] for _ in range(50)], axis=1).astype(float)
    np.testing.assert_allclose(np.cov(drawn).diagonal(), [0.9, 0.5], rtol=0.05)
    assert np.corrcoef(drawn)[0, 1] == pytest.approx(correlation, abs=0.02)


NETWORKS = {"characters": lambda method: char_lstm(method, (6,), 9, units=5),
            "words": lambda method: word_lstm(method, (6,), 9, units=5, streams=4),
            "documents": lambda method: text_lstm(method, (6,), 3, vocabulary=9, units=5, embedding=4)}


def network(name, structure, seed=1):
    """With log alpha on both sides of the threshold, and an input that is pruned as a whole where there is a z."""
    rng = np.random.RandomState(seed)
    lasagne.random.set_rng(rng)
    net = NETWORKS[name](methods.make("sparse-vd", structure=structure))
    for posterior in posteriors(net):
        posterior.set_log_alpha(rng.uniform(-4, 7, posterior.theta.get_value().shape))
    return net


@pytest.mark.parametrize("structure", ["none", "gates"])
@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_those_of_the_dense_network_with_what_is_left(name, structure, evaluate):
    net = network(name, structure)
    effective = EffectiveParams(net)
    uncut = {param: expression for layer in lasagne.layers.get_all_layers(net)
             for param, expression in getattr(layer, "effective_params", dict)().items()}
    values = effective.named_values()
    dense = NETWORKS[name](methods.make("dense"))
    assert list(values) == list(named_params(dense))
    for key, param in named_params(dense).items():
        param.set_value(values[key])
    tokens = T.constant(np.random.RandomState(3).randint(0, 9, (4, 6)).astype("int32"))
    kept, own, other = evaluate([get_output(net, tokens, deterministic=True, effective=effective.variables),
                                 get_output(net, tokens, deterministic=True, effective=uncut),
                                 get_output(dense, tokens, deterministic=True)])
    np.testing.assert_array_equal(kept, other)
    np.testing.assert_allclose(kept, own, atol=1e-6)
    assert sum(layer.nonzero for layer in effective.count_layers()) == sum(
        np.count_nonzero(value) for key, value in values.items() if not key.endswith(".b"))
    neurons = next(part for part in effective.parts if part.name == "neurons")
    W_h, W = values["lstm.W_h"], values["output.W"]
    assert neurons.left == np.count_nonzero(W_h.any(1) | W.any(1)) == np.count_nonzero(
        W_h.any(1) | W.any(1) | W_h.reshape(5, 4, 5).any((0, 1)) | values["lstm.W_x"].reshape(-1, 4, 5).any((0, 1)))
    assert [part.name for part in effective.parts][0] == ("symbols" if name == "characters" else "words")


def test_neurons_that_nothing_reads_are_cut_with_what_leads_to_them():
    net = network("characters", "none")
    effective = EffectiveParams(net)
    lstm = net.input_layer
    for posterior in posteriors(net):
        posterior.set_log_sigma2(-20)
    effective.update()
    assert [part[1:] for part in effective.parts] == [(9, 9), (5, 5), (20, 20)]
    lstm.W_h.set_value(np.where(np.arange(5)[:, np.newaxis] == 2, 0, lstm.W_h.get_value()))
    net.W.set_value(np.where(np.arange(5)[:, np.newaxis] == 2, 0, net.W.get_value()))
    layers = {layer.name: layer.nonzero for layer in effective.count_layers()}
    assert [part[1:] for part in effective.parts] == [(9, 9), (5, 4), (20, 16)]
    assert layers == {"lstm.W_x": 9 * 16, "lstm.W_h": 4 * 16, "output": 4 * 9}


def test_sizes_are_the_authors():
    def weights(make, *arguments, **keywords):
        net = make(methods.make("dense"), *arguments, **keywords)
        return sum(param.get_value(borrow=True).size for layer in lasagne.layers.get_all_layers(net)
                   for param in getattr(layer, "weights", ()))
    assert weights(char_lstm) == 4_250_000
    # Theirs has one output for two classes.
    assert weights(text_lstm) == 6_220_164 + 128
    assert weights(text_lstm, (100,), 4, units=512) == 7_665_924


def test_structure_is_refused_for_images():
    method = methods.make("sparse-vd", structure="neurons")
    net = method.dense_layer(InputLayer((None, 4)), 3, nonlinearity=None, name="dense1")
    with pytest.raises(UserError, match="--structure is of networks of texts"):
        method.check(net)


def test_noise_rate_is_as_if_log_sigma_were_trained():
    net = network("characters", "none")
    means, noise = methods.make("sparse-vd", noise_rate=2.0).groups(net)
    assert (means.factor, noise.factor) == (1, 2)
    assert {param.name.split(".")[-1] for param in noise.params} == {"W_x_log_sigma2", "W_h_log_sigma2", "log_sigma2"}
    assert len(means.params) + len(noise.params) == len(named_params(net))


def test_given_noise_makes_the_same_weights_for_all_steps(float64, evaluate):
    """A step of the layer is that of a dense one with the drawn matrices."""
    layer = vector_layer(groups="")
    numbers = np.random.RandomState(4).normal(size=(2, 8))
    layer.noise = GivenNoise(numbers)
    sigma = np.exp(-3)
    dense = LSTMLayer(InputLayer((None, 3, 2), T.dtensor3()), 2, W_x=W_X + sigma * numbers, W_h=W_H + sigma * numbers,
                      forget_bias=1.0, name="dense")
    np.testing.assert_allclose(*evaluate([get_output(layer, T.constant(INPUTS)),
                                          get_output(dense, T.constant(INPUTS))]), rtol=1e-12)
