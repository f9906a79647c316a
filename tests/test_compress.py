"""experiments/compress.py on runs of its own: every form of a network predicts what Theano does."""

import json
import os

import numpy as np
import pytest
import theano
from lasagne.layers import get_output
from PIL import Image

import scripts
from nets import methods
from nets.architectures import NETWORKS
from nets.describe import describe
from nets.params import named_params
from nets.sparsity import EffectiveParams
from nets.training.trainer import seed_generators
from test_export import compiled
from utils.export import ExportedNetwork, compact, load, read_run, structure
from utils.export.picture import read_picture

CLOSE = 1e-5


def agree(one, other):
    """Classes are equal but where the two best are closer than rounding."""
    best = np.sort(one, axis=1)
    undecided = best[:, -1] - best[:, -2] < CLOSE
    assert abs(one - other).max() < CLOSE
    assert ((one.argmax(axis=1) == other.argmax(axis=1)) | undecided).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the run of a pruned LeNet-300-100."""
    for name in ("constriction", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed (requirements-export.txt)")
    folder = tmp_path_factory.mktemp("compress")
    trained = start(folder, "lenet_300_100", "--dataset", "digits", "--method", "magnitude", "--epochs", 20,
                    "--batch-size", 50, "--output", "run")
    assert trained.returncode == 0, trained.stderr
    return folder


def start(folder, name, *flags):
    return scripts.run(name, *flags, cwd=folder)


@pytest.mark.parametrize("name, method, shape, k", [
    ("lenet-300-100", "sparse-vd", (1, 28, 28), 0.1), ("lenet-5-caffe", "sparse-vd", (1, 28, 28), 1),
    ("vgg-like", "sparse-vd", (3, 32, 32), 0.05), ("lenet-5-caffe", "magnitude", (1, 28, 28), 1),
    ("logistic-regression", "binary-dropout", (1, 8, 8), 1)])
def test_a_described_network_predicts_as_theano_does(name, method, shape, k):
    seed_generators(3)
    rng = np.random.default_rng(3)
    net = NETWORKS[name].build(methods.make(method), shape, 10, k)
    for key, param in named_params(net).items():
        value = param.get_value()
        if key.endswith((".b", ".beta", ".mean")):
            param.set_value((0.1 * rng.normal(size=value.shape)).astype(value.dtype))
        elif key.endswith(".log_sigma2"):
            # Nine of ten weights are pruned.
            param.set_value(np.where(rng.random(value.shape) < 0.9, 8, -15).astype(value.dtype))
        elif key.endswith(".W"):
            param.set_value((rng.normal(size=value.shape) / value[0].size ** 0.5).astype(value.dtype))
    images = theano.tensor.tensor4()
    inputs = rng.normal(size=(7, *shape)).astype(np.float32)
    expected = theano.function([images], get_output(net, images, deterministic=True))(inputs)
    layers = json.loads(json.dumps(describe(net)))
    assert [layer["kind"] for layer in layers if layer["kind"] == "BinaryDropoutLayer"] == []
    values = EffectiveParams(net).named_values()
    exported = ExportedNetwork(layers, {key: np.array(value) for key, value in values.items()})
    for found in (exported, compact(exported).network):
        assert abs(found.probabilities(inputs) - expected).max() < CLOSE
        assert abs(found.probabilities(inputs, sparse=True) - expected).max() < CLOSE


def test_a_run_becomes_a_file_that_predicts(folder, digits, tmp_path):
    result = start(folder, "compress", "run", "--c", "net.c", "--torch", "state", "--output", "net")
    assert result.returncode == 0, result.stderr
    assert "the paper's compression" in result.stdout and "Units: 784-300-100, left" in result.stdout
    network = load(str(folder / "net"))
    summary = json.loads((folder / "run" / "summary.json").read_text())
    import data
    raw, _ = data.load_raw("digits")
    targets, dense = raw.test.targets, read_run(str(folder / "run"))
    expected = dense.predict(raw.test.inputs)
    error = 100 * np.mean(expected.argmax(axis=1) != targets)
    assert error == pytest.approx(summary["test_error_percent"], abs=0.15)
    found = compact(dense).network
    assert summary["structure"] == structure(dense)
    for probabilities in (dense.probabilities(digits.test.inputs), found.predict(raw.test.inputs),
                          found.predict(raw.test.inputs, sparse=True), compiled(found, tmp_path)(raw.test.inputs)):
        agree(expected, probabilities)
    compressed = network.predict(raw.test.inputs)
    agree(compressed, compiled(network, tmp_path)(raw.test.inputs))
    assert 100 * np.mean(compressed.argmax(axis=1) != targets) < error + 1
    kept = sum(summary["nonzero"].values())
    assert (folder / "net").stat().st_size < 800 + 3 * kept
    onnx_file(folder, raw.test.inputs)


def onnx_file(folder, images):
    pytest.importorskip("onnx", reason="onnx is not installed (requirements-export.txt)")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (requirements-export.txt)")
    result = start(folder, "compress", "net", "--onnx", "net.onnx")
    assert result.returncode == 0, result.stderr
    session = runtime.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    agree(load(str(folder / "net")).predict(images), session.run(None, {"images": images.astype(np.float32)})[0])


def test_pictures_are_classified(folder, tmp_path):
    import data
    raw, _ = data.load_raw("digits")
    result = start(folder, "compress", "run", "--values", "float32", "--output", tmp_path / "net")
    assert result.returncode == 0, result.stderr
    network = load(str(tmp_path / "net"))
    image = raw.test.inputs[0, 0]
    # Of the network's size it is taken as it is; larger ones are cut out, scaled and put in the middle.
    Image.fromarray(image).save(tmp_path / "small.png")
    Image.fromarray(255 - np.pad(image, 10)).resize((400, 400)).save(tmp_path / "large.png")
    for name in ("small.png", "large.png"):
        result = start(folder, "compress", tmp_path / "net", "--predict", tmp_path / name)
        assert result.returncode == 0, result.stderr
        found = network.classify(read_picture(str(tmp_path / name), network.input_shape)[None])[0]
        assert f"{name}: {found} (" in result.stdout
        assert name != "small.png" or found == network.classify(image[None])[0]


def test_older_runs_are_compressed_too(folder, tmp_path):
    older = tmp_path / "older"
    older.mkdir()
    for name in ("config.json", "summary.json", "weights_pruned.npz"):
        os.link(folder / "run" / name, older / name)
    first, second = (start(folder, "compress", run, "--values", "6", "--output", tmp_path / name)
                     for name, run in (("first", older), ("second", "run")))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert (tmp_path / "first").stat().st_size == pytest.approx((tmp_path / "second").stat().st_size, abs=60)
    images = np.zeros((1, 1, 28, 28), np.uint8)
    assert (load(str(tmp_path / "first")).predict(images) == load(str(tmp_path / "second")).predict(images)).all()


def test_what_cannot_be_compressed_is_said_in_one_line(folder, tmp_path):
    (tmp_path / "damaged").write_bytes(b"x" * 40)
    for flags, text in ((["nowhere"], "not the folder of a finished run"), ([tmp_path / "damaged"], "is damaged"),
                        (["run", "--values", "3"], "invalid choice")):
        result = start(folder, "compress", *flags)
        assert result.returncode in (1, 2) and text in result.stderr and len(result.stderr.splitlines()) == 1
