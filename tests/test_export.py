"""utils/export: random networks made smaller, kept in files, written as C and ONNX, predict what they did."""

import ctypes
import itertools
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from conftest import ROOT
from data.preprocessing import Zca
from utils import files
from utils.errors import UserError
from utils.export import ExportedNetwork, c_file, compact, container, torch_state
from utils.export.c_file import c_source
from utils.export.coding import VALUES
from utils.export.network import check
from utils.export.onnx import onnx_model
from utils.export.picture import read_picture

COMPILER = shutil.which("gcc") or shutil.which("cc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def random_network(seed, density=None, scale=1.0):
    """A chain of up to 3 convolutions, with paddings, strides, pooling, up to 3 dense layers; batch normalizations."""
    rng = np.random.default_rng(seed)
    density = rng.choice([0, 0.02, 0.1, 0.5]) if density is None else density
    shape = [int(rng.integers(1, 4)), 9, 8]
    layers, arrays = [{"kind": "input", "name": "input", "shape": shape}], {}

    def normal(*shape):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    def pruned(*shape):
        return normal(*shape) * (rng.random(shape) < density)

    def nonlinearity():
        return str(rng.choice(["identity", "rectify", "tanh", "sigmoid"], p=[0.3, 0.5, 0.1, 0.1]))

    def add(kind, shape, **values):
        layers.append({"kind": kind, "name": f"l{len(layers)}", "shape": shape, **values})
        return layers[-1]["name"]

    def batch_norm():
        channels = layers[-1]["shape"][0]
        name = add("batch_norm", layers[-1]["shape"], epsilon=1e-3, nonlinearity=nonlinearity())
        arrays.update({f"{name}.beta": normal(channels), f"{name}.mean": normal(channels),
                       f"{name}.gamma": normal(channels) * (rng.random(channels) < 0.8),
                       f"{name}.inv_std": abs(normal(channels))})
    for _ in range(rng.integers(0, 4)):
        before = layers[-1]["shape"]
        size, pad = rng.integers(1, 4, 2).tolist(), rng.integers(0, 2, 2).tolist()
        stride = [1, 1] if rng.random() < 0.5 else rng.integers(1, 3, 2).tolist()
        lengths = [(length + 2 * zeros - across) // step + 1
                   for length, zeros, across, step in zip(before[1:], pad, size, stride)]
        if min(lengths) < 2:
            continue
        filters = int(rng.integers(1, 7))
        name = add("conv", [filters, *lengths], size=size, pad=pad, stride=stride, nonlinearity=nonlinearity())
        arrays[f"{name}.W"] = pruned(filters, before[0], *size)
        if rng.random() < 0.8:
            arrays[f"{name}.b"] = normal(filters)
        if rng.random() < 0.5:
            batch_norm()
        if rng.random() < 0.4:
            add("max_pool", [filters, lengths[0] // 2, lengths[1] // 2], size=[2, 2], stride=[2, 2])
    hidden = rng.integers(0, 3)
    for number in range(hidden + 1):
        inputs, units = math.prod(layers[-1]["shape"]), 4 if number == hidden else int(rng.integers(1, 8))
        name = add("dense", [units], nonlinearity="softmax" if number == hidden else nonlinearity())
        arrays[f"{name}.W"], arrays[f"{name}.b"] = pruned(inputs, units), normal(units)
        if number < hidden and rng.random() < 0.4:
            batch_norm()
    preprocessing = {"mean": rng.random(layers[0]["shape"]).astype(np.float32)} if rng.random() < 0.5 else None
    return ExportedNetwork(layers, {name: array.astype(np.float32) for name, array in arrays.items()}, preprocessing)


def inputs_of(network, count=19):
    rng = np.random.default_rng(1)
    if network.preprocessing is None:
        return rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return rng.integers(0, 256, (count, *network.input_shape)).astype(np.float32)


# Compaction.

@pytest.mark.parametrize("first", range(0, 200, 20))
def test_compaction_keeps_the_predictions_and_finds_all_at_once(first):
    for seed in range(first, first + 20):
        network = random_network(seed)
        images = inputs_of(network)
        found = compact(network)
        expected = network.predict(images)
        assert abs(found.network.predict(images) - expected).max() < 1e-5, seed
        assert abs(found.network.predict(images, sparse=True) - expected).max() < 1e-5, seed
        assert all(left <= before for left, before in zip(found.units, found.units_before))
        assert found.network.multiplications() <= network.multiplications()
        again = compact(found.network)
        assert again.units == found.units, seed
        assert abs(again.network.predict(images) - expected).max() < 1e-5, seed


@pytest.mark.parametrize("seed", range(10))
def test_a_wholly_pruned_network_gives_its_biases(seed):
    network = random_network(seed, density=0.0)
    images = inputs_of(network)
    found = compact(network)
    assert abs(found.network.predict(images) - network.predict(images)).max() < 1e-6
    assert np.ptp(found.network.predict(images), axis=0).max() == 0
    assert set(found.units[1:]) <= {1} and sum(map(np.count_nonzero, found.network.weights().values())) == 0


def chain(*layers, shape=(1, 6, 6), **arrays):
    return ExportedNetwork([{"kind": "input", "name": "input", "shape": list(shape)}, *layers],
                           {name.replace("_", "."): np.asarray(array, np.float32) for name, array in arrays.items()})


def test_a_hidden_softmax_keeps_all_its_outputs():
    """Each depends on all, also on one that the next layer does not read."""
    rng = np.random.default_rng(2)
    network = chain({"kind": "dense", "name": "a", "shape": [3], "nonlinearity": "softmax"},
                    {"kind": "dense", "name": "b", "shape": [2], "nonlinearity": "softmax"}, shape=(2,),
                    a_W=rng.normal(size=(2, 3)), b_W=[[1, 2], [0, 0], [3, -1]])
    found = compact(network).network
    assert found.arrays["b.W"].shape == (2, 2)
    assert abs(found.predict(inputs_of(network)) - network.predict(inputs_of(network))).max() < 1e-6


def test_a_network_without_weights_is_as_it_was():
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [1, 1, 2]},
                               {"kind": "flatten", "name": "flat", "shape": [2]}], {},
                              {"mean": np.zeros((1, 1, 2), np.float32)})
    images = inputs_of(network)
    np.testing.assert_array_equal(compact(network).network.predict(images), network.predict(images))


def test_constant_channels_fold_without_padding_and_become_one_with_it():
    rng = np.random.default_rng(3)
    W = rng.normal(size=(4, 1, 3, 3))
    W[1:] = 0      # three filters that give their biases; the last bias is rectified away
    for pad, left in ((0, 1), (1, 2)):
        side = 4 + 2 * pad - 2
        network = chain({"kind": "conv", "name": "c", "shape": [4, 4, 4], "size": [3, 3], "nonlinearity": "rectify"},
                        {"kind": "conv", "name": "d", "shape": [2, side, side], "size": [3, 3], "pad": [pad, pad],
                         "nonlinearity": "rectify"},
                        {"kind": "dense", "name": "e", "shape": [3], "nonlinearity": "softmax"},
                        c_W=W, c_b=[0.1, 0.5, 2, -1], d_W=rng.normal(size=(2, 4, 3, 3)), d_b=[0.1, 0.2],
                        e_W=rng.normal(size=(2 * side * side, 3)), e_b=[0, 0, 0])
        images = inputs_of(network)
        found = compact(network)
        assert found.units[0] == left
        assert abs(found.network.predict(images) - network.predict(images)).max() < 1e-6


def test_units_are_counted_as_the_literature_does():
    W = np.zeros((18, 5))
    W[[0, 4, 13], [0, 0, 2]] = 1       # two pixels of the first filter, one of the second, to two units
    V = np.zeros((5, 2))
    V[0, 0] = V[2, 1] = V[4, 1] = 1    # the last unit sees nothing
    F = np.ones((2, 1, 4, 4))
    network = chain({"kind": "conv", "name": "c", "shape": [2, 3, 3], "size": [4, 4], "nonlinearity": "identity"},
                    {"kind": "dense", "name": "d", "shape": [5], "nonlinearity": "rectify"},
                    {"kind": "dense", "name": "e", "shape": [2], "nonlinearity": "softmax"},
                    c_W=F, d_W=W, d_b=np.ones(5), e_W=V)
    found = compact(network)
    assert (found.units_before, found.units) == ([2, 18, 5], [2, 3, 2])
    assert found.network.multiplications() == 2 * 16 * 9 + 3 * 2 + 2 * 2
    assert found.network.multiplications(sparse=True) == 2 * 16 * 9 + 3 + 2


@pytest.mark.parametrize("nonlinearity, left", [("identity", ["dense", "dense"]),
                                                ("rectify", ["dense", "affine", "dense"])])
def test_batch_normalization_is_folded_where_nothing_is_between(nonlinearity, left):
    rng = np.random.default_rng(0)
    layers = [{"kind": "input", "name": "input", "shape": [4]},
              {"kind": "dense", "name": "one", "shape": [3], "nonlinearity": nonlinearity},
              {"kind": "batch_norm", "name": "norm", "shape": [3], "epsilon": 1e-3, "nonlinearity": "rectify"},
              {"kind": "dense", "name": "two", "shape": [2], "nonlinearity": "softmax"}]
    arrays = {"one.W": rng.normal(size=(4, 3)), "two.W": rng.normal(size=(3, 2)),
              **{f"norm.{name}": rng.uniform(0.5, 1, 3) for name in ("beta", "gamma", "mean", "inv_std")}}
    found = compact(ExportedNetwork(layers, {name: array.astype("float32") for name, array in arrays.items()})).network
    assert [layer["kind"] for layer in found.layers if layer["kind"] in ("dense", "affine", "batch_norm")] == left


# Files.

@pytest.fixture
def packages():
    for name in ("constriction", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed (requirements-export.txt)")


def mnist_like(scale=0.3):
    networks = (random_network(seed, 0.3, scale) for seed in itertools.count())
    return compact(next(network for network in networks if network.preprocessing and len(network.layers) > 5)).network


@pytest.mark.parametrize("values", VALUES)
def test_a_file_holds_the_network(packages, tmp_path, values):
    allowed = {"float32": 0, "float16": 2e-3}.get(values, 0.4 / 2 ** (int(values) - 3) if values.isdigit() else None)
    for seed in range(30):
        for network in (random_network(seed, scale=0.3), compact(random_network(seed, scale=0.3)).network):
            size = container.save(network, str(tmp_path / "net"), values)
            assert size == (tmp_path / "net").stat().st_size
            read = container.load(str(tmp_path / "net"))
            images = inputs_of(network)
            assert [{**layer, "input": None} for layer in read.layers] == [
                {**layer, "input": None} for layer in network.layers]
            assert read.classes == network.classes and set(read.arrays) == set(network.arrays)
            assert all((read.arrays[name] != 0).sum() <= (array != 0).sum()
                       for name, array in network.weights().items())
            assert abs(read.predict(images) - network.predict(images)).max() <= allowed, seed


def test_whitening_and_names_of_classes_are_kept(packages):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 12)).astype(np.float32)
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [3, 2, 2]},
                               {"kind": "dense", "name": "d", "shape": [2], "nonlinearity": "softmax"}],
                              {"d.W": rng.normal(size=(12, 2)).astype(np.float32)},
                              {"mean": rng.random((3, 2, 2)).astype(np.float32), "whitening": matrix + matrix.T},
                              ["a", "b"])
    read = container.loads(container.dumps(network))
    images = inputs_of(network)
    assert read.classes == ["a", "b"] and set(read.classify(images)) <= {"a", "b"}
    assert (read.predict(images) == network.predict(images)).all()


def test_whitened_images_are_seen_as_in_training(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 3, 2, 2)).astype(np.uint8)
    transform = Zca.fit(images)
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [3, 2, 2]},
                               {"kind": "dense", "name": "d", "shape": [2], "nonlinearity": "softmax"}],
                              {"d.W": rng.normal(size=(12, 2)).astype(np.float32)}, transform.arrays())
    np.testing.assert_allclose(network.prepare(images), transform(images), atol=1e-5)
    predicted = compiled(network, tmp_path)(network.prepare(images))
    assert abs(predicted - network.predict(images)).max() < 1e-5


def test_whitening_too_large_for_float16_is_refused_there(packages):
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [1, 1, 2]},
                               {"kind": "dense", "name": "d", "shape": [2], "nonlinearity": "softmax"}],
                              {"d.W": np.ones((2, 2), np.float32)},
                              {"mean": np.zeros((1, 1, 2), np.float32), "whitening": 1e5 * np.eye(2, dtype=np.float32)})
    with pytest.raises(UserError, match="whitening has numbers up to 100,000, too large .* float32"):
        container.dumps(network, "4")
    assert container.loads(container.dumps(network)).preprocessing["whitening"][0, 0] == 1e5


@pytest.mark.parametrize("values", ["float16", "4"])
@pytest.mark.parametrize("name, large", [("d.W", 1e5), ("d.W", 65510), ("d.b", 1e5)])
def test_numbers_too_large_for_a_form_are_refused_there(packages, name, large, values):
    arrays = {"d.W": np.ones((2, 2), np.float32), "d.b": np.ones(2, np.float32)}
    arrays[name][0] = large     # 65510 is rounded to the largest float16
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [2]},
                               {"kind": "dense", "name": "d", "shape": [2], "nonlinearity": "softmax"}], arrays)
    with pytest.raises(UserError, match=f"{name} has numbers up to {large:,.0f}, too large for .*take float32"):
        container.dumps(network, values)
    assert (container.loads(container.dumps(network)).arrays[name] == arrays[name]).all()


@pytest.mark.parametrize("values", ["float32", "5"])
def test_the_mean_of_inputs_that_are_no_images(packages, values):
    mean = np.linspace(0, 1, 9, dtype=np.float32)
    network = ExportedNetwork([{"kind": "input", "name": "input", "shape": [9]},
                               {"kind": "dense", "name": "d", "shape": [2], "nonlinearity": "softmax"}],
                              {"d.W": np.ones((9, 2), np.float32)}, {"mean": mean})
    found = container.loads(container.dumps(network, values)).preprocessing["mean"]
    assert abs(found - mean).max() < 0.01


def test_the_same_network_is_the_same_file(packages):
    network = mnist_like()
    assert len({container.dumps(network, "5") for _ in range(10)}) == 1


def test_damaged_files_are_refused_with_one_line(packages, tmp_path):
    path = tmp_path / "net"
    content = container.dumps(mnist_like(), "5")
    rng = np.random.default_rng(0)
    damaged = [content[:length] for length in range(0, len(content), 7)]
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(changed))
    damaged += [b"", b"\0" * 100, rng.bytes(300), content + b"x", b"\xff" * 8 + content[8:]]
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(UserError) as raised:
            container.load(str(path))
        assert len(str(raised.value).splitlines()) == 1 and "net" in str(raised.value)
    with pytest.raises(UserError, match="cannot read .*nowhere"):
        container.load(str(tmp_path / "nowhere"))


def forged(change, monkeypatch):
    """A file with the right checksum whose architecture was changed."""
    dumps = json.dumps
    with monkeypatch.context() as patched:
        patched.setattr(container.json, "dumps",
                        lambda value, **keywords: dumps(change(json.loads(dumps(value))) or value))
        return container.dumps(mnist_like(), "5")


def test_files_that_ask_for_too_much_are_refused(packages, monkeypatch):
    def larger(architecture):
        architecture["layers"][-1]["shape"] = [2 ** 25]
        return architecture

    def deeper(architecture):
        architecture["layers"] += [{"kind": "nonlinearity", "name": f"n{number}", "nonlinearity": "rectify",
                                    "shape": [4]}
                                   for number in range(1001)]
        return architecture

    def longer(architecture):
        architecture["classes"] = ["a" * 2 ** 23] * 4
        return architecture

    def other(architecture):
        architecture["layers"][-1]["shape"] = [-1]
        return architecture

    def recursive(architecture):
        architecture["layers"][-1]["kind"] = "os.system"
        return architecture
    def wider(architecture):
        architecture["layers"][1:1] = [{"kind": "select", "name": f"s{number}", "shape": [2 ** 22]}
                                       for number in range(900)]
        return architecture
    for change in (larger, deeper, longer, other, recursive, wider):
        with pytest.raises(UserError) as raised:
            container.loads(forged(change, monkeypatch))
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("change, text", [
    (lambda found: found["layers"][0].update(name="\x1b[31m") or found, "a name cannot be printed"),
    (lambda found: found.update(classes=["\x1b]0;" + "x" * n for n in range(found["layers"][-1]["shape"][0])]) or found,
     "a class has a name that cannot be printed")])
def test_names_that_a_terminal_would_obey_are_refused(packages, monkeypatch, change, text):
    with pytest.raises(UserError, match=text):
        container.loads(forged(change, monkeypatch))


@pytest.mark.parametrize("size, pad, stride", [([3, 3], [4, 0], [1, 1]), ([1, 1], [0, 2 ** 20], [1, 1]),
                                               ([2 ** 12] * 2, [2 ** 12] * 2, [2 ** 14] * 2)])
def test_padding_is_bounded(size, pad, stride):
    def checked(pad):
        lengths = [(9 + 2 * zeros - across) // step + 1 for zeros, across, step in zip(pad, size, stride)]
        check([{"kind": "input", "name": "input", "shape": [1, 9, 9]}, {
            "kind": "conv", "name": "conv", "size": size, "pad": pad, "stride": stride, "shape": [1, *lengths]}],
            {"conv.W": (1, 1, *size)})
    with pytest.raises(UserError, match="conv pads too much"):
        checked(pad)
    checked(size if size[0] < 9 else [size[0] // 2] * 2)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    for function in (lambda: container.dumps(mnist_like()), lambda: onnx_model(mnist_like())):
        with pytest.raises(UserError, match="pip install --requirement requirements-export.txt"):
            function()


def run_without_theano(expression, path):
    """Prints an expression of `net`, the network in a file, in a process that fails if it has imported Theano."""
    code = ("import sys; from utils.export import load; import numpy as np; net = load(sys.argv[1])\n"
            f"print({expression})\n"
            "assert not {'theano', 'lasagne', 'nets', 'data'} & set(sys.modules)")
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)


def test_prediction_from_a_file_needs_no_theano(packages, tmp_path):
    container.save(mnist_like(), str(tmp_path / "net"), "6")
    result = run_without_theano("net.predict(np.zeros((2, *net.input_shape), 'uint8')).sum(axis=1)", tmp_path / "net")
    assert result.returncode == 0 and result.stdout.strip() == "[1. 1.]", result.stderr


@pytest.mark.parametrize("layers, reason", [
    ([{"kind": "lstm", "name": "l", "shape": [3]}], "the layer l is a lstm"),
    ([{"kind": "dense", "name": "d", "shape": [3], "nonlinearity": "elu"}], "'elu' is unknown"),
    ([{"kind": "dense", "name": "d", "shape": [3], "input": "x"}], "does not follow"),
    ([{"kind": "dense", "name": "d", "shape": [3]}], "d.W is missing"),
    ([{"kind": "batch_norm", "name": "n", "shape": [2]}], "epsilon is missing"),
    ([{"kind": "batch_norm", "name": "n", "shape": [2], "epsilon": -1}], "n has the epsilon -1"),
    ([{"kind": "dense", "name": "d"}], "shape is missing"), ([], "no list"), (None, "no network")])
def test_networks_that_are_unknown_here_are_refused(layers, reason):
    with pytest.raises(UserError, match=reason):
        ExportedNetwork(layers and [{"kind": "input", "name": "input", "shape": [2]}, *layers], {})


# C, ONNX, PyTorch.

def compiled(network, folder, flags=("-O2",), **keywords):
    """The C file's function as images -> probabilities."""
    if not COMPILER:
        pytest.skip("no C compiler")
    source, library = folder / "net.c", folder / f"net{len(list(folder.iterdir()))}.so"
    source.write_text(c_source(network, **keywords))
    built = subprocess.run([COMPILER, *STRICT, *flags, "-shared", "-fPIC", source, "-o", library, "-lm"],
                           capture_output=True,
                           text=True)
    assert built.returncode == 0 and not built.stderr, built.stderr
    function, pointer = ctypes.CDLL(str(library)).predict, ctypes.POINTER(ctypes.c_float)

    def predict(images):
        images = np.ascontiguousarray(images, np.float32)
        result = np.empty((len(images), len(network.classes)), np.float32)
        function(images.ctypes.data_as(pointer), len(images), result.ctypes.data_as(pointer))
        return result
    return predict


@pytest.mark.parametrize("name", ["LARGEST_IMAGE", "MOST_UNITS"])
def test_networks_that_would_take_long_to_read_are_neither_written_nor_read(packages, monkeypatch, name):
    network = mnist_like()
    limit = math.prod(network.input_shape) - 1 if name == "LARGEST_IMAGE" else len(network.classes) - 1
    content = container.dumps(network)
    monkeypatch.setattr(container, name, limit)
    for function, argument in ((container.dumps, network), (container.loads, content)):
        with pytest.raises(UserError, match=f"at most .*{limit}.*; this one is larger"):
            function(argument)


@pytest.mark.parametrize("text", ["*/ int x;", "*\\\n/ int x;", "*??/\n/ int x;", "\u00e9??/", "\\"])
def test_a_strangers_names_stay_in_the_comment(text):
    if not COMPILER:
        pytest.skip("no C compiler")

    def without_comments(title):
        network = mnist_like()
        network.classes = [title, *network.classes[1:]]
        source = c_source(network, title=title).encode("ascii", "replace")
        return subprocess.run([COMPILER, "-std=c99", "-E", "-P", "-"], input=source, capture_output=True).stdout
    assert without_comments(text) == without_comments("plain")


@pytest.mark.parametrize("seed", range(24))
def test_the_c_file_predicts_the_same(tmp_path, seed):
    network = random_network(seed)
    images = inputs_of(network)
    found = network if seed % 2 else compact(network).network
    predict = compiled(found, tmp_path, lanes=(None, 1, 4)[seed % 3])
    for number in (1, 19):
        assert abs(predict(images[:number]) - network.predict(images[:number])).max() < 1e-5


def test_the_c_file_without_vectors_is_the_same(tmp_path):
    network = mnist_like()
    predict = compiled(network, tmp_path, ["-O2", "-DNO_VECTORS"])
    assert abs(predict(inputs_of(network)) - network.predict(inputs_of(network))).max() < 1e-5


def test_the_c_file_of_many_weights_and_of_a_large_image(tmp_path, monkeypatch):
    """Tables of large numbers are compared with int; what is too large for the stack lies elsewhere."""
    monkeypatch.setattr(c_file, "_STACK", 64)
    W = np.random.default_rng(1).normal(size=(300, 300)).astype(np.float32)
    network = chain({"kind": "dense", "name": "d", "shape": [300], "nonlinearity": "tanh"},
                    {"kind": "dense", "name": "e", "shape": [3], "nonlinearity": "softmax"},
                    shape=(300,), d_W=W, e_W=W[:, :3])
    assert "static float one[" in c_source(network) and "one thread at a time" in c_source(network)
    predict = compiled(network, tmp_path)
    assert abs(predict(inputs_of(network)) - network.predict(inputs_of(network))).max() < 1e-5


@pytest.mark.parametrize("name", ["int", "mean", "l2_value", "GET4", "block_8", "expf", "1st", "\u00e9"])
def test_names_that_no_c_function_can_have_are_refused(name):
    with pytest.raises(UserError, match="no name of a C function|the file uses that name itself"):
        c_source(mnist_like(), name)


@pytest.mark.parametrize("seed", range(12))
def test_the_onnx_model_predicts_the_same(seed):
    pytest.importorskip("onnx", reason="onnx is not installed (requirements-export.txt)")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (requirements-export.txt)")
    network = random_network(seed)
    images = inputs_of(network)
    for found in (network, compact(network).network):
        session = runtime.InferenceSession(onnx_model(found).SerializeToString(), providers=["CPUExecutionProvider"])
        assert abs(session.run(None, {"images": images})[0] - network.predict(images)).max() < 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_a_state_dict_brings_back_the_arrays(seed):
    network = random_network(seed)
    back = torch_state.arrays_of({**torch_state.state_dict(network), "l1.num_batches_tracked": np.int64(3)},
                                 network.layers)
    assert set(back) == set(network.arrays)
    for name, array in network.arrays.items():
        np.testing.assert_allclose(back[name], array, rtol=1e-5, err_msg=name)
    with pytest.raises(UserError, match="no such layer"):
        torch_state.arrays_of({**torch_state.state_dict(network), "other.weight": np.zeros(3)}, network.layers)
    with pytest.raises(UserError, match="name the modules as the layers"):
        torch_state.arrays_of({}, network.layers)


def test_torch_predicts_the_same_from_the_state_dict(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("safetensors.torch", reason="safetensors is not installed (requirements-export.txt)")
    network = next(network for network in map(random_network, itertools.count()) if any(
        layer["kind"] == "conv" for layer in network.layers) and any(
        layer["kind"] == "batch_norm" for layer in network.layers) and all(
        f"{name.removesuffix('.W')}.b" in network.arrays for name in network.weights())
        and network.preprocessing is None)
    model, before = torch.nn.Sequential(), network.input_shape
    functions = {"rectify": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid,
                 "softmax": lambda: torch.nn.Softmax(1), "identity": torch.nn.Identity}
    for layer in network.layers[1:]:
        kind, name = layer["kind"], layer["name"]
        if kind == "conv":
            module = torch.nn.Conv2d(before[0], layer["shape"][0], layer["size"], layer["stride"], layer["pad"])
        elif kind == "max_pool":
            module = torch.nn.MaxPool2d(layer["size"], layer["stride"])
        elif kind == "batch_norm":
            kind = torch.nn.BatchNorm2d if len(before) == 3 else torch.nn.BatchNorm1d
            module = kind(before[0], eps=layer["epsilon"])
        else:
            if len(before) > 1:
                model.add_module(f"flat{len(model)}", torch.nn.Flatten())
            module = torch.nn.Linear(math.prod(before), layer["shape"][0])
        model.add_module(name, module)
        model.add_module(f"{name}_function", functions[layer.get("nonlinearity", "identity")]())
        before = layer["shape"]
    import safetensors.torch
    # A running variance is positive: 1 / inv_std^2 > epsilon.
    for name, array in network.arrays.items():
        if name.endswith("inv_std"):
            array[:] = np.minimum(array, 20)
    torch_state.write_state(network, str(tmp_path / "state"))
    model.load_state_dict(safetensors.torch.load_file(tmp_path / "state"), strict=False)
    model.eval()
    images = inputs_of(network)
    with torch.no_grad():
        assert abs(model(torch.from_numpy(images)).numpy() - network.predict(images)).max() < 1e-5
    safetensors.torch.save_file(model.state_dict(), tmp_path / "back")
    back = torch_state.arrays_of(torch_state.read_state(str(tmp_path / "back")), network.layers)
    for name, array in network.arrays.items():
        np.testing.assert_allclose(back[name], array, rtol=1e-4, err_msg=name)


# Pictures.

@pytest.mark.parametrize("background, pen", [("white", "black"), ("black", "white"), ((240, 235, 220), (40, 60, 120))])
def test_a_drawn_digit_becomes_one_like_mnists(tmp_path, background, pen):
    picture = Image.new("RGB", (300, 200), background)
    ImageDraw.Draw(picture).line([(60, 30), (60, 150)], fill=pen, width=14)
    picture.save(tmp_path / "digit.png")
    found = read_picture(str(tmp_path / "digit.png"), (1, 28, 28))
    assert found.shape == (1, 28, 28) and found.dtype == np.uint8
    assert found.max() == 255 and (found[0].any(axis=1).sum(), found[0, 0].max()) == (20, 0)
    rows, columns = np.indices((28, 28))
    centre = [(found[0] * axis).sum() / found.sum() for axis in (rows, columns)]
    assert np.abs(np.array(centre) - 13.5).max() < 1


def test_a_photograph_is_read_as_it_was_held(tmp_path):
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    exif = Image.Exif()
    exif[274] = 6       # orientation: a quarter turn
    picture.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_picture(str(tmp_path / "turned.png"), (1, 4, 3))[0],
                                  np.rot90(np.asarray(picture), -1))
    picture.save(tmp_path / "damaged.png", exif=b"Exif\0\0no TIFF")
    np.testing.assert_array_equal(read_picture(str(tmp_path / "damaged.png"), (1, 3, 4))[0], np.asarray(picture))


def test_sixteen_bits_are_read_as_eight(tmp_path):
    values = np.linspace(0, 255, 28 * 28).astype(np.uint16).reshape(28, 28)
    Image.fromarray(values * 256 + 99).save(tmp_path / "16.png")
    np.testing.assert_array_equal(read_picture(str(tmp_path / "16.png"), (1, 28, 28))[0], values)


def test_pictures_that_show_nothing_are_refused(tmp_path):
    Image.new("L", (30, 30), "white").save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, text in (("empty.png", "shows nothing"), ("text.png", "no picture"), ("nowhere.png", "does not exist")):
        with pytest.raises(UserError, match=text):
            read_picture(str(tmp_path / name), (1, 28, 28))


def test_postscript_is_refused_and_starts_nothing(tmp_path, monkeypatch):
    started = []
    Image.init()
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **keywords: started.append(arguments))
    (tmp_path / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="save it as one of PNG, JPEG"):
        read_picture(str(tmp_path / "x.eps"), (1, 28, 28))
    assert not started


def test_a_picture_for_a_network_that_takes_none_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "some.png")
    for shape in ((2, 8, 8), (64,)):
        with pytest.raises(UserError, match="a picture does not fit a network for inputs of"):
            read_picture(str(tmp_path / "some.png"), shape)


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="do not fit"):
        mnist_like().predict(np.zeros((5, 7, 7)))


def test_a_run_without_files_is_refused(tmp_path):
    from utils.export import described_layers, read_run
    (tmp_path / "broken").mkdir()
    with pytest.raises(UserError, match="network.json is missing"):
        read_run(str(tmp_path))
    files.write_json(str(tmp_path / "network.json"), {"layers": [{"kind": "gate", "name": "g", "shape": [2]}]})
    with pytest.raises(UserError, match="holds no weights_pruned.npz"):
        read_run(str(tmp_path))
    for broken in ([], [{"kind": "gate", "name": 1, "shape": [2]}], [{"kind": "gate", "name": "g", "shape": []}],
                   [{"kind": "gate", "name": "g", "shape": ["2"]}], [{"kind": "gate", "name": "g"}]):
        files.write_json(str(tmp_path / "broken" / "network.json"), {"layers": broken})
        with pytest.raises(UserError, match="network.json is not as this project writes it"):
            described_layers(str(tmp_path / "broken"))
    files.write_arrays(tmp_path / "weights_pruned.npz", {"d.W": np.ones((2, 2), np.float32)})
    files.write_arrays(tmp_path / "preprocessing.npz", {"whitening": np.eye(2, dtype=np.float32)})
    with pytest.raises(UserError, match="preprocessing.npz has no arrays mean, or mean and whitening, alone"):
        read_run(str(tmp_path))
