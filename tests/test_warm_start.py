import json

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_output
from lasagne.nonlinearities import rectify, softmax

import samples
from nets import methods
from nets.layers.batch_norm import BatchNormLayer
from nets.params import named_params
from utils import files
from utils.errors import UserError
from nets.training.warm_start import Weights


def network(method, units=4):
    """A small network with a layer of each kind."""
    net = method.conv_layer(InputLayer((None, 1, 6, 6), name="input"), 3, 3, nonlinearity=None, name="conv1")
    net = BatchNormLayer(net, rectify, name="norm1")
    net = method.dense_layer(method.dropout(net, 0.5), units, nonlinearity=rectify, name="dense1")
    return method.dense_layer(net, 2, nonlinearity=softmax, name="dense2")


def predictions(net, images):
    x = T.tensor4()
    return theano.function([x], get_output(net, x, deterministic=True), mode="FAST_COMPILE")(images)


@pytest.fixture
def trained(rng):
    """A dense network with weights as after training."""
    net = network(methods.make("binary-dropout"))
    for name, param in named_params(net).items():
        param.set_value(rng.uniform(0.2, 1.5, param.get_value().shape).astype("float32")
                        * rng.choice([-1, 1] if name.endswith("W") else [1], param.get_value().shape).astype("float32"))
    return net


@pytest.fixture
def folder(trained, tmp_path):
    """The folder of its finished run."""
    (tmp_path / "run").mkdir()
    files.write_arrays(tmp_path / "run" / "weights.npz",
                       {name: param.get_value() for name, param in named_params(trained).items()})
    summary = samples.summary(network="LeNet", method="Binary dropout", dataset="mnist", flags=[], start="random")
    del summary["format"]   # the first one
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    return tmp_path / "run"


@pytest.fixture
def original_file(trained, tmp_path):
    """Its weights as the original repository saves them: in order, without names."""
    values = np.empty(len(named_params(trained)), dtype=object)
    values[:] = [param.get_value() for param in named_params(trained).values()]
    np.save(tmp_path / "w.npy", values)
    return tmp_path / "w.npy"


@pytest.mark.parametrize("place", ["folder", "file", "original"])
def test_the_warm_started_net_predicts_as_the_dense_one(trained, folder, original_file, rng, place):
    images = rng.normal(size=(5, 1, 6, 6)).astype("float32")
    source = Weights.read(str({"folder": folder, "file": folder / "weights.npz", "original": original_file}[place]))
    assert source.title == ("original's file" if place == "original" else "Binary dropout")
    net = network(methods.make("sparse-vd", log_sigma2=-10.0))
    before = predictions(net, images)
    assert source.copy_to(net) == list(named_params(net, training_only=True))
    # Weights of 0.2 and more are far from the threshold at log sigma^2 = -10: not one is masked.
    np.testing.assert_allclose(predictions(net, images), predictions(trained, images), rtol=1e-6)
    assert abs(before - predictions(net, images)).max() > 1e-3
    for name, param in named_params(net, training_only=True).items():
        assert name.endswith("log_sigma2") and (param.get_value() == -10).all()


def test_weights_below_the_noise_are_pruned_at_once(trained, folder, rng):
    """What the paper's masks do to a warm start: theta^2 < sigma^2 / e^3 is masked, and only that."""
    weights = files.read_arrays(folder / "weights.npz")
    small = rng.random(weights["dense1.W"].shape) < 0.3
    weights["dense1.W"][small] = 0.001
    files.write_arrays(folder / "weights.npz", weights)
    net = network(methods.make("sparse-vd", log_sigma2=-10.0))
    Weights.read(str(folder)).copy_to(net)
    named_params(trained)["dense1.W"].set_value(np.where(small, 0, weights["dense1.W"]).astype("float32"))
    images = rng.normal(size=(5, 1, 6, 6)).astype("float32")
    np.testing.assert_allclose(predictions(net, images), predictions(trained, images), rtol=1e-6)


def test_a_sparse_vd_run_brings_its_log_sigma2(trained, tmp_path, rng):
    first = network(methods.make("sparse-vd", log_sigma2=-3.0))
    files.write_arrays(tmp_path / "weights.npz", {name: param.get_value() for name, param
                                                  in named_params(first).items()})
    second = network(methods.make("sparse-vd", log_sigma2=-10.0))
    assert Weights.read(str(tmp_path)).copy_to(second) == []
    for name, param in named_params(second).items():
        np.testing.assert_array_equal(param.get_value(), named_params(first)[name].get_value())
    with pytest.raises(UserError, match="weights_pruned.npz"):
        Weights.read(str(tmp_path)).copy_to(trained)


def change_rename(arrays):
    return {("other.W" if name == "dense1.W" else name): array for name, array in arrays.items()}


def change_shape(arrays):
    return {**arrays, "dense1.W": arrays["dense1.W"][:-1]}


def change_missing(arrays):
    return {name: array for name, array in arrays.items() if name != "conv1.b"}


def change_extra(arrays):
    return {**arrays, "dense3.W": np.zeros((2, 2), "float32")}


@pytest.mark.parametrize("change, name", [
    (change_rename, "dense1.W"), (change_shape, "dense1.W is 47x4 there and 48x4"),
    (change_missing, "conv1.b is missing there"), (change_extra, "dense3.W is 2x2 there and missing here")])
def test_weights_of_another_network_are_refused_by_the_layers_name(folder, change, name):
    path = folder / "weights.npz"
    files.write_arrays(path, change(files.read_arrays(path)))
    net = network(methods.make("sparse-vd"))
    before = {key: param.get_value() for key, param in named_params(net).items()}
    with pytest.raises(UserError, match=f"{path} is of another network: {name}"):
        Weights.read(str(folder)).copy_to(net)
    for key, param in named_params(net).items():
        np.testing.assert_array_equal(param.get_value(), before[key])


def test_an_original_file_of_another_network_is_refused(original_file):
    with pytest.raises(UserError, match="dense1.W is 48x4 there and 48x5 here"):
        Weights.read(str(original_file)).copy_to(network(methods.make("sparse-vd"), units=5))
    values = np.load(original_file, allow_pickle=True)
    np.save(original_file, values[:-1])
    with pytest.raises(UserError, match="holds 9 arrays, this network 13 \\(10 without what only training needs\\)"):
        Weights.read(str(original_file)).copy_to(network(methods.make("sparse-vd")))


def test_what_is_not_there_is_named(tmp_path):
    for name, text in (("", "holds no weights.npz"), ("w.npz", "w.npz"), ("w.npy", "w.npy")):
        with pytest.raises(UserError, match=text):
            Weights.read(str(tmp_path / name))


def test_an_original_files_log_sigma2_is_not_taken_for_a_mask(tmp_path):
    net = network(methods.make("sparse-vd"))
    values = np.empty(len(named_params(net)), dtype=object)
    values[:] = [param.get_value() for param in named_params(net).values()]
    np.save(tmp_path / "w.npy", values)
    masked = network(methods.make("magnitude"))
    assert len(named_params(masked)) == len(values)
    with pytest.raises(UserError, match="holds 13 arrays, this network 13 \\(10 without"):
        Weights.read(str(tmp_path / "w.npy")).copy_to(masked)


def test_what_only_another_methods_training_needs_is_not_another_network(tmp_path):
    source, target = (network(methods.make(name)) for name in ("magnitude", "dns"))
    files.write_arrays(tmp_path / "weights.npz", {name: param.get_value() for name, param
                                                  in named_params(source).items()})
    with pytest.raises(UserError, match="mask_b is missing there and .* here; weights_pruned.npz fits any method"):
        Weights.read(str(tmp_path)).copy_to(target)


def test_a_run_without_the_file_that_a_method_starts_from_is_named(folder):
    with pytest.raises(UserError, match="holds no weights_pruned.npz"):
        Weights.read(str(folder), "weights_pruned.npz")
