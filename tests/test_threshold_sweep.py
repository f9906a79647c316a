"""experiments/threshold_sweep.py on a run of its own, against the run's own results and numpy."""

import json

import numpy as np
import pytest
from PIL import Image

import scripts
from experiments import lenet_300_100, vgg_like
from experiments.common import cli
from nets import methods
from utils import files
from utils.errors import UserError


FLAGS = "--dataset", "digits", "--epochs", 8, "--validation", 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a finished run of SparseVD, tested on images held out."""
    folder = tmp_path_factory.mktemp("sweep")
    trained = start(folder, "lenet_300_100", *FLAGS, "--output", "run")
    assert trained.returncode == 0, trained.stderr
    return folder


def start(folder, name, *flags):
    return scripts.run(name, *flags, cwd=folder)


def log_alphas(weights):
    """Once more, in numpy: {layer: array}."""
    found = {}
    for layer in ("dense1", "dense2", "dense3"):
        W, log_sigma2 = (weights[f"{layer}.{name}"].astype("float64") for name in ("W", "log_sigma2"))
        found[layer] = np.clip(log_sigma2 - np.log(W ** 2 + 1e-8), -8, 8)
    return found


def test_the_runs_own_threshold_gives_its_own_results(folder):
    result = start(folder, "threshold_sweep", "run", "--thresholds", 3, -1, 8.5)
    assert result.returncode == 0, result.stderr
    assert "images held out (--validation)" in result.stdout
    found = json.loads((folder / "run" / "thresholds.json").read_text())
    summary = json.loads((folder / "run" / "summary.json").read_text())
    everything, own, less = found["thresholds"]
    assert (everything["threshold"], own["threshold"], less["threshold"]) == (8.5, 3, -1)
    assert everything["compression"] == 1 and own["nonzero"] > less["nonzero"]
    assert own["error_percent"] == summary["test_error_percent"]
    assert own["compression"] == pytest.approx(summary["compression"])
    kept = counted = 0
    for layer, log_alpha in log_alphas(files.read_arrays(folder / "run" / "weights.npz")).items():
        kept += (log_alpha < -1).sum()
        counted += np.abs(np.histogram(log_alpha, found["edges"])[0] - found["histogram"][layer]).sum()
    assert less["nonzero"] == pytest.approx(kept, abs=3) and counted < 100
    with Image.open(folder / "run" / "thresholds.png") as picture:
        assert picture.width > 1000


def test_a_final_threshold_leaves_what_the_sweep_says(folder):
    found = start(folder, "threshold_sweep", "run", "--thresholds", -1)
    assert found.returncode == 0, found.stderr
    (swept,) = json.loads((folder / "run" / "thresholds.json").read_text())["thresholds"]
    trained = start(folder, "lenet_300_100", *FLAGS, "--final-threshold", -1, "--output", "cut")
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((folder / "cut" / "summary.json").read_text())
    assert sum(summary["nonzero"].values()) == swept["nonzero"] > 0
    assert summary["test_error_percent"] == swept["error_percent"]
    assert summary["flags"] == {"final_threshold": -1.0}
    last = (folder / "cut" / "history.csv").read_text().splitlines()[-1]
    assert last.split(",")[:-1] == (folder / "run" / "history.csv").read_text().splitlines()[-1].split(",")[:-1]


def test_an_initial_threshold_prunes_first_and_trains_on(folder):
    trained = start(folder, "lenet_300_100", *FLAGS, "--epochs", 2, "--initial-threshold", -1, "--init-from", "run",
                    "--output", "further")
    assert trained.returncode == 0, trained.stderr
    assert "cut at log alpha < -1" in (folder / "further" / "log.txt").read_text()
    before, after = (files.read_arrays(folder / name / "weights_pruned.npz") for name in ("run", "further"))
    weights = files.read_arrays(folder / "run" / "weights.npz")
    cut, changed = 0, []
    for layer, log_alpha in log_alphas(weights).items():
        pruned = log_alpha > -0.999
        assert (after[f"{layer}.W"][pruned] == 0).all()
        cut += (before[f"{layer}.W"][pruned] != 0).sum()
        kept = after[f"{layer}.W"] != 0
        changed.extend(after[f"{layer}.W"][kept] != weights[f"{layer}.W"][kept])
    assert cut > 0 and np.mean(changed) > 0.9


def test_an_initial_threshold_needs_noise_to_start_from(folder):
    flags = *FLAGS, "--initial-threshold", 0, "--output", "refused"
    for more, text in (((), "--initial-threshold cuts a finished run of SparseVD"),
                       (("--init-from", "run/weights_pruned.npz"), "start from a run of --method sparse-vd"),
                       (("--init-from", "run", "--log-sigma2", -8), "leave --log-sigma2 out")):
        result = start(folder, "lenet_300_100", *flags, *more)
        assert result.returncode == 1 and text in result.stderr and len(result.stderr.splitlines()) == 1
        assert not (folder / "refused").exists()


@pytest.mark.parametrize("experiment, flags", [
    (lenet_300_100.EXPERIMENT, ["--parameterization", "multiplicative"]), (vgg_like.EXPERIMENT, [])])
def test_an_initial_threshold_is_refused_where_pruned_weights_would_come_back(experiment, flags):
    with pytest.raises(UserError, match="would come back"):
        cli.parse(experiment, "", [*flags, "--init-from", "run", "--initial-threshold=-1"])


def test_an_initial_threshold_is_refused_of_texts():
    method = methods.make("sparse-vd", initial_threshold=-1.0)
    with pytest.raises(UserError, match="would come back"):
        method.lstm_layer(None, 3, "lstm")


def test_pretraining_that_leaves_no_noise_is_refused_before_it_begins(folder):
    result = start(folder, "lenet_300_100", *FLAGS, "--initial-threshold", 0, "--pretrain", "dense", "--output", "late")
    assert result.returncode == 1 and "start from a run of --method sparse-vd" in result.stderr
    assert not (folder / "late-dense").exists()


def test_pretraining_whose_weights_do_not_fit_is_refused_before_it_begins(folder):
    result = start(folder, "lenet_300_100", *FLAGS, "--pretrain", "magnitude", "--output", "masks")
    assert result.returncode == 1 and "--pretrain magnitude is of another network: dense1.mask" in result.stderr
    assert not (folder / "masks-magnitude").exists()


def test_runs_without_log_alpha_are_refused(folder):
    trained = start(folder, "lenet_300_100", "--dataset", "digits", "--epochs", 1, "--method", "dense",
                    "--output", "dense")
    assert trained.returncode == 0, trained.stderr
    for name, text in (("dense", "a run of Dense, which has no log alpha"),
                       ("nowhere", "not the folder of a finished")):
        result = start(folder, "threshold_sweep", name)
        assert result.returncode == 1 and text in result.stderr and len(result.stderr.splitlines()) == 1
