import json

import numpy as np
import pytest
from PIL import Image

import samples
import scripts
from experiments import paper_figures
from utils import files
from utils.errors import UserError


def write_run(folder, method="SparseVD", network="LeNet-300-100", dataset="mnist", losses=(1.0, 0.5), **values):
    folder.mkdir(parents=True)
    own = dict(network=network, method=method, dataset=dataset, epochs=len(losses), threshold=3.0, seed=1,
               start="random", flags=[], test_error_percent=2.0, sparsity_percent=dict(dense1=99.0), compression=100.0)
    summary = samples.summary(**{**own, **values})
    del summary["format"]   # the first one
    (folder / "summary.json").write_text(json.dumps(summary))
    samples.write_history(folder, [{"train_loss": loss, "compression": 4.0 * number}
                                   for number, loss in enumerate(losses, 1)])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All figures of made-up runs: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("figures")
    runs = folder / "results"
    write_run(runs / "additive")
    write_run(runs / "additive-2", seed=2, losses=(0.9, 0.3))
    write_run(runs / "short", losses=(1.0,))
    write_run(runs / "multiplicative", "SparseVD, multiplicative noise", losses=(2.0, 1.5))
    for weight in (0.3, 10):
        write_run(runs / f"kl-{weight}", flags=[f"--kl-weight {weight}"], compression=100.0 * weight)
    write_run(runs / "old", network="LeNet-5-Caffe")
    write_run(runs / "dense", method="Dense", compression=1.0)
    rows = [dict(threshold=3 - step, error_percent=2.0 + step, compression=100.0 + 50 * step, nonzero=100 - step)
            for step in range(4)]
    (runs / "additive" / "thresholds.json").write_text(json.dumps(
        {"images": "test images", "thresholds": rows, "edges": [0.0, 1.0], "histogram": {"dense1": [1]}}))
    write_run(runs / "vgg", network="VGG-like, k = 0.25", dataset="cifar10 (q75)", test_error_percent=20.0)
    # Wholly pruned ones have no compression.
    write_run(runs / "pruned", start="Dense", compression=None)
    write_run(runs / "vgg-pruned", network="VGG-like, k = 0.25", dataset="cifar10", start="Dense", compression=None)
    (runs / "additive-2" / "thresholds.json").write_text(json.dumps(
        {"images": "test images", "thresholds": [{**rows[0], "compression": None, "nonzero": 0}], "edges": [0.0, 1.0],
         "histogram": {"dense1": [1]}}))
    (runs / "additive" / "gradient_variance.json").write_text(json.dumps({"rows": [
        dict(epoch=epoch, layer="dense1", additive=1e-9, multiplicative=2e-9 * 10 ** epoch) for epoch in (0, 1, 2)]}))
    (runs / "additive" / "snapshots").mkdir()
    (runs / "additive" / "config.json").write_text(json.dumps({"settings": dict(
        experiment="lenet_300_100", network="LeNet", data="mnist", dataset="mnist", method="dense", epochs=2, seed=1,
        batch_size=100)}))
    # Damaged ones, which are named and left out.
    write_run(runs / "broken")
    (runs / "broken" / "history.csv").write_text("epoch\n")
    samples.write_run(runs / "broken-snapshots")
    (runs / "broken-snapshots" / "snapshots" / "epoch-0000.npz").write_bytes(b"")
    (runs / "broken-snapshots" / "summary.json").unlink()
    for epoch in range(6):
        weights = np.full((4, 1, 5, 5), epoch - 2.5, "float32")
        files.write_arrays(runs / "additive" / "snapshots" / f"epoch-{epoch:04d}.npz",
                           {"filters": weights, "dense": weights.reshape(10, 10)})
    result = scripts.run("paper_figures", "--results", runs, "--output", folder / "out", cwd=folder)
    assert result.returncode == 0, result.stderr
    warned = [line.partition("results/")[2].partition("/")[0] for line in result.stderr.splitlines()]
    assert sorted(warned) == ["broken", "broken-snapshots"], result.stderr
    return folder / "out", result.stdout


@pytest.mark.parametrize("name", ["figure1_kl", "figure2_noise", "figure3_vgg_like", "figure4_weights",
                                  "figure5_trade_off"])
def test_each_figure_is_a_picture_and_a_pdf(drawn, name):
    folder, _ = drawn
    with Image.open(folder / f"{name}.png") as png:
        colors = np.asarray(png.convert("RGB")).reshape(-1, 3)
        assert png.width > 600 and len(np.unique(colors, axis=0)) > 50
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_refit_is_nearer_to_monte_carlo_than_the_published_constants(drawn):
    lines = drawn[1].splitlines()
    paper, fitted = (next(line for line in lines if line.startswith(name)).split()[-4:]
                     for name in ("Molchanov et al.", "the same, fitted"))
    assert paper[:3] == ["0.63576", "1.87320", "1.48695"]
    assert float(fitted[3]) < float(paper[3]) < 0.01
    np.testing.assert_allclose(np.float64(fitted[:3]), np.float64(paper[:3]), atol=0.05)


def test_the_noises_are_compared_over_runs_of_as_many_epochs(drawn):
    lines = [line.split() for line in drawn[1].splitlines()]
    additive = next(line for line in lines if line[:2] == ["additive", "noise"])
    multiplicative = next(line for line in lines if line[:2] == ["multiplicative", "noise"])
    assert additive[3:] == ["2", "-0.4000", "87.50", "2.00"]
    assert multiplicative[2:] == ["1", "-1.5000", "87.50", "2.00"]
    assert "after epoch 0: 2 " in drawn[1] and "median: 20 " in drawn[1] and "last: 200" in drawn[1]


def test_the_trade_off_has_every_run_that_prunes_mnist_as_it_is(drawn):
    rows = drawn[1].partition("Figure 5")[2].splitlines()
    rows = [line.split() for line in rows if line.startswith("LeNet-300-100")]
    # Not VGG-like's, nor that of the earlier convolutions.
    assert sorted(row[-3:] for row in rows) == [
        *3 * [["1", "2.00", "100"]], ["1", "2.00", "1000"], ["1", "2.00", "30"], ["2", "2.00", "100"]]
    assert "by KL weight, LeNet-300-100: 0.3, 1, 10" in drawn[1] and "by KL weight, LeNet-5" not in drawn[1]


def test_a_pair_whose_history_has_no_kl_weight_is_named(tmp_path):
    for name, method in (("additive", "SparseVD"), ("multiplicative", "SparseVD, multiplicative noise")):
        write_run(tmp_path / name, method)
    path = tmp_path / "additive" / "history.csv"
    path.write_text(path.read_text().replace("kl_weight", "weight"))
    (tmp_path / "additive" / "gradient_variance.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(UserError, match="additive/history.csv has no column kl_weight"):
        paper_figures.draw_noises(str(tmp_path))


@pytest.mark.parametrize("noise", ["other", ["additive"]])
def test_a_noise_that_is_none_makes_no_pair(tmp_path, noise):
    for name, flags in (("additive", {}), ("other", {"parameterization": noise})):
        samples.write_run(tmp_path / name)
        (tmp_path / name / "summary.json").write_text(json.dumps({**samples.SUMMARY, "flags": flags}))
    assert "not drawn, it needs two runs" in paper_figures.draw_noises(str(tmp_path))[1]


def test_snapshots_of_data_without_a_title_are_drawn(tmp_path):
    samples.write_run(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"title": "digits", "fingerprint"', '"fingerprint"'))
    figure, text = paper_figures.draw_weights(str(tmp_path))
    assert figure and text == "weights of run"


def test_what_is_missing_is_said(tmp_path):
    flags = "--figure", 2, 4, "--results", tmp_path, "--output", tmp_path / "out"
    result = scripts.run("paper_figures", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "--parameterization multiplicative; and python experiments/gradient_variance.py" in result.stdout
    assert "a run with --snapshots" in result.stdout and not list((tmp_path / "out").iterdir())
