"""The other networks' scripts through their command lines: pretraining, warm starts, snapshots, variants."""

import json
import os
import re
import shutil

import numpy as np
import pytest

import data
import scripts
from data import cifar
from experiments.common import cli
from experiments.lenet_300_100 import EXPERIMENT as LENET
from nets.schedules import LinearDecay
from utils import files, results

DIGITS = ("--dataset", "digits", "--epochs", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a script in a folder of the module: run(name, *flags) -> CompletedProcess."""
    folder = tmp_path_factory.mktemp("experiments")

    def run(name, *flags):
        return scripts.run(name, *flags, cwd=folder)
    run.folder = folder
    return run


@pytest.fixture(scope="module")
def pretrained(run):
    """LeNet-5-Caffe with SparseVD from a dense start, by one command: the output."""
    result = run("lenet5_caffe", *DIGITS, "--pretrain", "dense", "--snapshots", "--output", "pair")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", ["lenet5_caffe", "lenet_500_300", "vgg_like", "random_labels"])
def test_help_answers(run, name):
    result = run(name, "--help")
    assert result.returncode == 0
    for flag in ("--method", "--init-from", "--pretrain", "--random-labels", "--snapshots", "--augment", "--variant"):
        assert flag in result.stdout
    assert ("--k X" in result.stdout) == (name in ("vgg_like", "random_labels"))


def test_one_command_trains_the_dense_network_and_starts_from_it(run, pretrained):
    dense, sparse = (json.loads((run.folder / name / "summary.json").read_text()) for name in ("pair-dense", "pair"))
    assert (dense["method"], dense["start"], dense["compression"]) == ("dense", "random", 1)
    assert (sparse["method"], sparse["start"]) == ("sparse-vd", "dense") and sparse["compression"] > 1
    assert "Starts from pair-dense/weights.npz (Dense), log sigma^2 = -10; " in pretrained
    assert "LeNet-5-Caffe  Dense, paper, mnist" in pretrained
    # The pruned share before the first step is that of the dense weights below the noise.
    weights = files.read_arrays(run.folder / "pair-dense" / "weights.npz")
    W = np.concatenate([array.ravel() for name, array in weights.items() if name.endswith(".W")]).astype("float64")
    expected = 100 * np.mean(-10 - np.log(W ** 2 + 1e-8) >= 3)
    found = float(re.search(r"; ([\d.]+) % of the weights are pruned before", pretrained).group(1))
    assert expected > 1 and found == pytest.approx(expected, abs=0.1)
    settings = json.loads((run.folder / "pair-dense" / "config.json").read_text())["settings"]
    assert settings["dataset"]["augment"] is True and settings["method"] == {"name": "dense"}
    assert settings["training"]["learning_rate"] == {"schedule": "LinearDecay", "initial": 1e-4, "begin": 1, "end": 2}
    # Other tests train in the folder, too.
    groups = [group for group in results.collect(str(run.folder)) if group.summaries[0]["folder"].endswith(
        ("pair", "pair-dense"))]
    assert [(group.network, group.method_title, group.start_title, group.flags_shown) for group in groups] == [
        ("lenet-5-caffe", "Dense", "random", ""), ("lenet-5-caffe", "SparseVD", "Dense", "")]


def test_snapshots_are_drawn_of_each_epoch(run, pretrained):
    for folder in ("pair", "pair-dense"):
        assert sorted(os.listdir(run.folder / folder / "snapshots")) == [
            "dense.gif", "dense.png", "epoch-0000.npz", "epoch-0001.npz", "epoch-0002.npz", "filters.gif",
            "filters.png"]
    start = files.read_arrays(run.folder / "pair" / "snapshots" / "epoch-0000.npz")["filters"]
    dense = files.read_arrays(run.folder / "pair-dense" / "weights.npz")["conv1.W"]
    np.testing.assert_array_equal(start[start != 0], dense[start != 0])


def test_a_run_goes_on_without_the_runs_that_it_started_from(run, pretrained):
    shutil.copytree(run.folder / "pair", run.folder / "moved")
    before = json.loads((run.folder / "moved" / "summary.json").read_text())
    (run.folder / "moved" / "summary.json").unlink()
    result = run("lenet5_caffe", "--resume", "moved")
    assert result.returncode == 0 and "LeNet-5-Caffe, Dense" not in result.stdout
    assert not (run.folder / "moved-dense").exists()
    after = json.loads((run.folder / "moved" / "summary.json").read_text())
    assert (after["start"], after["start_recipe"]["epochs"]) == ("dense", 2)
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    # What is kept by epoch goes on being kept.
    assert "Drawn: " in result.stdout


def test_a_finished_pretraining_of_other_flags_is_refused(run, pretrained):
    shutil.copytree(run.folder / "pair-dense", run.folder / "other-dense")
    result = run("lenet5_caffe", *DIGITS, "--pretrain", "dense", "--seed", 2, "--output", "other")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "other-dense is of another run: seed is 1 there, not 2" in result.stderr
    assert not (run.folder / "other").exists()


def test_a_finished_pretraining_is_not_done_again(run, pretrained):
    result = run("lenet5_caffe", *DIGITS, "--pretrain", "dense", "--output", "pair", "--resume")
    assert result.returncode == 0 and "LeNet-5-Caffe, Dense" not in result.stdout
    assert "Resumed after epoch 2 of 2" in result.stdout


def test_a_start_from_another_networks_weights_is_refused(run, pretrained):
    result = run("lenet_300_100", *DIGITS, "--init-from", "pair-dense", "--output", "refused")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "pair-dense/weights.npz is of another network: dense1.W is 800x500 there and 784x300 here" in result.stderr
    assert not (run.folder / "refused").exists()


@pytest.mark.parametrize("name, dataset", [("lenet5_caffe", "digits-8x8"), ("vgg_like", "digits")])
def test_images_too_small_for_the_network_are_refused(run, name, dataset):
    result = run(name, "--dataset", dataset, "--output", "small")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert f"does not take the images of {dataset}" in result.stderr and not (run.folder / "small").exists()


def test_the_kl_term_counts_from_the_start_without_warm_up(run, pretrained):
    weights = {}
    for name, flags in (("pair", ()), ("cold", ("--no-kl-warm-up",))):
        if flags:
            result = run("lenet_300_100", "--dataset", "digits", "--epochs", 1, *flags, "--output", name)
            assert result.returncode == 0, result.stderr
        weights[name] = np.genfromtxt(run.folder / name / "history.csv", delimiter=",", names=True)["kl_weight"]
    assert weights["pair"][0] == 0 and weights["cold"] == 1
    summary = json.loads((run.folder / "cold" / "summary.json").read_text())
    assert (summary["flags"], summary["flags_shown"]) == ({"kl_warm_up": False}, "--no-kl-warm-up")


@pytest.mark.parametrize("flags, expected", [
    (("--temperature", 2), "--temperature is of --teacher"), (("--shift", 2, "--no-augment"), "--shift says how far"),
    (("--pretrain", "sparse-vd", "--shift", 2), "--shift says how far"),
    (("--augment", "--shift", 28), "--shift 28 moves whole images out of sight: give less than 28"),
    (("--pretrain", "finetune"), "--method finetune goes on from the weights of another run"),
    (("--output",), "argument --output: expected one argument")])
def test_flags_that_cannot_be_meant_are_refused(run, flags, expected):
    result = run("lenet_300_100", *DIGITS, *flags)
    assert result.returncode != 0 and expected in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_shift_of_the_pretraining_alone_is_taken(monkeypatch):
    options = cli.parse(LENET, "", ["--pretrain", "dense", "--no-augment", "--shift", "2"])
    assert options.for_pretraining("dense", "x").values["shift"] == 2 and "shift" not in options.flags


def test_the_learning_rate_falls_as_in_the_script():
    options = cli.parse(LENET, "", ["--learning-rate", "0.01", "--epochs", "100"])
    assert options.values["learning_rate"] == LinearDecay(0.01, 50, 100)


def test_the_advice_to_go_on_can_be_pasted():
    options = cli.parse(LENET, "", ["--output", "c d", "--data-dir", "a b"])
    assert options.resume_hint == "--resume 'c d' --data-dir 'a b'"


def test_another_versions_run_goes_on_after_its_finished_pretraining(run, pretrained):
    """Of a run stopped in its first epoch, and of one without its start's recipe."""
    for name in ("pair", "pair-dense"):
        shutil.copytree(run.folder / name, run.folder / name.replace("pair", "early"))
    for name in ("checkpoint.npz", "summary.json"):
        (run.folder / "early" / name).unlink()
    config = json.loads((run.folder / "early" / "config.json").read_text())
    for key in ("method_title", "prunes", "start_recipe"):
        del config[key]
    (run.folder / "early" / "config.json").write_text(json.dumps(config))
    result = run("lenet5_caffe", "--resume", "early")
    assert result.returncode == 0, result.stderr
    summary = json.loads((run.folder / "early" / "summary.json").read_text())
    assert summary["start_recipe"]["method"] == "dense"


def test_two_starts_are_refused(run):
    result = run("lenet_300_100", *DIGITS, "--init-from", "pair", "--pretrain", "dense")
    assert result.returncode == 1 and "give one of them" in result.stderr


def test_random_labels_cannot_be_predicted(run):
    result = run("random_labels", *DIGITS, "--method", "binary-dropout", "--output", "random")
    assert result.returncode == 0, result.stderr
    summary = json.loads((run.folder / "random" / "summary.json").read_text())
    assert summary["dataset_title"] == "digits (random labels)" and summary["network_title"] == "LeNet-300-100"
    assert summary["test_error_percent"] > 70
    resumed = run("random_labels", "--resume", "random")
    assert resumed.returncode == 0 and "Resumed after epoch 2 of 2" in resumed.stdout, resumed.stderr


@pytest.fixture
def noise_for_cifar(run, rng):
    """Files of CIFAR-10's form, in the folder `data`; their content is noise."""
    folder = run.folder / "data" / cifar.CIFAR10.records.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in cifar.CIFAR10.records.sha256:
        records = rng.randint(0, 256, (30, 3073)).astype("uint8")
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())


def test_any_script_trains_on_cifar(run, noise_for_cifar):
    flags = ("--dataset", "cifar10", "--data-dir", "data", "--epochs", 1, "--preprocessing", "mean-image", "--augment")
    refused = run("lenet_300_100", *flags)
    assert refused.returncode == 1 and "is not cifar-10-batches-bin's data_batch_1.bin" in refused.stderr
    result = run("lenet_300_100", *flags, "--variant", "noise", "--output", "cifar")
    assert result.returncode == 0, result.stderr
    assert files.read_arrays(run.folder / "cifar" / "preprocessing.npz")["mean"].shape == (3, 32, 32)
    flags_shown = json.loads((run.folder / "cifar" / "summary.json").read_text())["flags_shown"]
    assert flags_shown == "--preprocessing mean-image --augment"
    assert data.DATASETS["cifar10"].augmentation.flip and not data.DATASETS["mnist"].augmentation.flip


def test_images_are_shifted_as_far_as_is_said(run):
    weights = []
    for name, flags in ("usual", ()), ("named", ("--shift", 4)), ("less", ("--shift", 1)):
        result = run("lenet_300_100", *DIGITS, "--augment", *flags, "--output", name)
        assert result.returncode == 0, result.stderr
        weights.append(files.read_arrays(run.folder / name / "weights.npz")["dense1.W"])
    usual, named, less = weights
    np.testing.assert_array_equal(usual, named)
    assert not np.array_equal(usual, less)
    refused = run("lenet_300_100", *DIGITS, "--shift", 1)
    assert refused.returncode == 1 and "--shift says how far --augment shifts" in refused.stderr


def test_images_are_whitened(run):
    result = run("lenet_300_100", *DIGITS, "--preprocessing", "zca", "--data-dir", "data", "--output", "zca")
    assert result.returncode == 0, result.stderr
    assert files.read_arrays(run.folder / "zca" / "preprocessing.npz")["whitening"].shape == (784, 784)
    assert [path.name[:4] for path in (run.folder / "data" / "cache").iterdir()] == ["zca-"]


@pytest.mark.skipif(not os.environ.get("SPARSEVD_SLOW_TESTS"),
                    reason="compiling VGG-like takes minutes: SPARSEVD_SLOW_TESTS=1 runs it")
def test_vgg_like_trains_on_a_variant_of_cifar(run, noise_for_cifar):
    flags = ("--k", 0.0625, "--data-dir", "data", "--epochs", 1, "--batch-size", 50, "--method", "binary-dropout")
    result = run("vgg_like", *flags, "--variant", "noise", "--augment", "--output", "vgg")
    assert result.returncode == 0, result.stderr
    summary = json.loads((run.folder / "vgg" / "summary.json").read_text())
    assert summary["dataset_title"] == "cifar10 (noise)" and summary["network_title"] == "VGG-like, k = 0.0625"
    assert len(summary["weights"]) == 15 and summary["weights"]["conv1_1"] == 3 * 4 * 9
    assert "mean" in files.read_arrays(run.folder / "vgg" / "preprocessing.npz")
    assert all(path.name.startswith("zca-") for path in (run.folder / "data" / "cache").iterdir())
