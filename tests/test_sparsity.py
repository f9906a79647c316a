import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_output

from nets import methods
from nets.architectures import lenet_300_100
from nets.params import named_params
from nets.layers.dense import DenseLayer
from nets.layers.sparse_vd import SparseVDDenseLayer
from nets.sparsity import EffectiveParams
from utils import compression


def test_counts_and_compression_by_hand():
    # log alpha = log sigma^2 - log theta^2 with theta = 1: pruned from 3 on. 4 of 6 and 1 of 2 weights are kept.
    net = SparseVDDenseLayer(InputLayer((None, 3)), 2, W=np.ones((3, 2), "float32"), name="first",
                             log_sigma2=np.array([[-10, 0], [2.9, 3.1], [7, -1]], "float32"))
    net = SparseVDDenseLayer(net, 1, W=np.ones((2, 1), "float32"), log_sigma2=np.array([[-10], [10]], "float32"),
                             name="second")
    first, second = layers = EffectiveParams(net).count_layers()
    assert first == ("first", 6, 4) and second == ("second", 2, 1)
    assert first.sparsity_percent == pytest.approx(100 / 3) and second.sparsity_percent == 50
    assert first.compression == 1.5 and second.compression == 2
    total = compression.total(layers)
    assert total == ("total", 8, 5) and total.compression == 8 / 5 and total.sparsity_percent == 37.5


def test_a_dense_net_keeps_what_is_not_0():
    net = DenseLayer(InputLayer((None, 2)), 2, W=np.array([[0, 1], [2, 0]], "float32"), name="dense")
    assert EffectiveParams(net).count_layers() == [("dense", 4, 2)]


def test_compression_is_infinite_where_nothing_is_left():
    net = SparseVDDenseLayer(InputLayer((None, 3)), 2, log_sigma2=lasagne.init.Constant(20.0), name="noise")
    layers = EffectiveParams(net).count_layers()
    assert layers[0].sparsity_percent == 100
    assert layers[0].compression == compression.total(layers).compression == float("inf")


def test_lenet_300_100_has_the_papers_number_of_weights():
    layers = EffectiveParams(lenet_300_100(methods.make("dense"))).count_layers()
    assert [layer.weights for layer in layers] == [784 * 300, 300 * 100, 100 * 10]
    assert sum(layer.weights for layer in layers) == 266200


def test_both_methods_build_the_same_network():
    nets = [lenet_300_100(method) for method in (methods.make("dense"), methods.make("sparse-vd"))]
    shapes = [{name: param.get_value().shape for name, param in named_params(net).items()} for net in nets]
    assert shapes[0] == {name: shape for name, shape in shapes[1].items() if not name.endswith("log_sigma2")}
    assert {name for name in shapes[1] if name not in shapes[0]} == {f"dense{n}.log_sigma2" for n in (1, 2, 3)}


def test_pruned_weights_predict_in_a_dense_net_exactly_as_masked_ones(trainer, digits):
    trainer.train_epoch(digits.train.batches(100, np.random.default_rng(1)), 1e-3, [0.1])
    masked = prediction(trainer.net)(digits.test.inputs)

    values = trainer.pruned_weights()
    plain = lenet_300_100(methods.make("dense"))
    assert [name for name in values if name.endswith("W")] == ["dense1.W", "dense2.W", "dense3.W"]
    lasagne.layers.set_all_param_values(plain, [values[name] for name in named_params(plain)])

    counts = {layer.name: layer.nonzero for layer in trainer.count_layers()}
    assert counts == {layer.name: layer.nonzero for layer in EffectiveParams(plain).count_layers()}
    assert 0 < sum(counts.values()) < 266200
    np.testing.assert_array_equal(prediction(plain)(digits.test.inputs), masked)


def prediction(net):
    images = T.tensor4()
    return theano.function([images], get_output(net, images, deterministic=True))


def test_next_to_the_threshold_all_agree(rng):
    """What rounding decides is decided once: counts, saved weights and predictions of the dense net that holds them."""
    W = rng.normal(size=(1000, 200)).astype("float32")
    log_sigma2 = 3 + np.log(W ** 2 + 1e-8) + rng.choice([-1e-7, 0, 1e-7], W.shape)
    layer = SparseVDDenseLayer(InputLayer((None, 1000)), 200, W=W, log_sigma2=log_sigma2.astype("float32"),
                               name="layer")
    images = T.fmatrix()
    effective = EffectiveParams(layer)
    (_, weights, nonzero), = effective.count_layers()
    values = effective.named_values()
    assert nonzero == np.count_nonzero(values["layer.W"]) and 0.01 < nonzero / weights < 0.99
    dense = DenseLayer(InputLayer((None, 1000)), 200, W=values["layer.W"], b=values["layer.b"])
    found, expected = theano.function([images], [
        get_output(layer, images, deterministic=True, effective=effective.variables), get_output(dense, images)],
        mode="FAST_RUN")(
            rng.normal(size=(20, 1000)).astype("float32"))
    np.testing.assert_array_equal(found, expected)
