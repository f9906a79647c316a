import json
from argparse import Namespace

import pytest

import samples
from conftest import ROOT
from experiments.common import reproduction
from utils.errors import UserError


@pytest.fixture
def paper_runs(monkeypatch):
    """Two runs that need no download, and one of another table."""
    monkeypatch.chdir(ROOT)
    run = reproduction.PaperRun("a-seed1", "lenet", "logistic_regression", "digits-8x8", ("--seed", "3"), 200, 1, 1)
    monkeypatch.setattr(reproduction, "PAPER_RUNS", (
        run, run._replace(name="b-seed1", flags=("--learning-rate", "0")),
        run._replace(name="c-seed1", table="vgg-like"), run._replace(name="d-seed1", quick_epochs=None)))


def test_missing_runs_are_planned_and_trained_and_failures_named(paper_runs, tmp_path, capfd):
    (tmp_path / "done").mkdir()
    args = Namespace(jobs=2, cores_per_run=None, scheduler=None, resources=(), keep=300, send_files=False,
                     no_weights=False, data_dir=None, variant=None)
    with pytest.raises(UserError, match="^1 of 2 runs failed, with the lines above: b-seed1;"):
        reproduction.run(["lenet"], str(tmp_path), args, quick=True)
    printed = capfd.readouterr().out
    assert "Left out of the quick version: d-seed1." in printed and "2 runs, 2 at a time: about 61 s" in printed
    assert "a-seed1: done in" in printed and "c-seed1" not in printed
    line, = [line for line in printed.splitlines() if line.startswith("b-seed1: failed after")]
    assert "--learning-rate" in line
    summary = json.loads((tmp_path / "a-seed1" / "summary.json").read_text())
    assert (summary["seed"], summary["epochs"]) == (3, 1)
    assert (tmp_path / "a-seed1" / "baselines.json").exists()

    with pytest.raises(UserError, match="^1 of 1 runs failed"):
        reproduction.run(["lenet"], str(tmp_path), args, quick=True)
    assert "1 runs, " in capfd.readouterr().out


def test_a_quick_run_is_not_taken_for_the_full_one(paper_runs, tmp_path):
    (tmp_path / "a-seed1").mkdir()
    (tmp_path / "a-seed1" / "summary.json").write_text(json.dumps(samples.summary(epochs=1)))
    with pytest.raises(UserError, match="a-seed1 was trained for 1 epochs, not 200: remove it, or name another"):
        reproduction.run(["lenet"], str(tmp_path), Namespace(variant=None))


def test_cifars_variant_is_cifars():
    vgg, = [job for job in reproduction.jobs(["vgg-like"], variant="q75") if job.name == "vgg_like-cifar10-k0.5-seed1"]
    assert vgg.command == ["experiments/vgg_like.py", "--k", "0.5", "--pretrain", "binary-dropout", "--dataset",
                           "cifar10", "--epochs", "200", "--variant", "q75"]
    assert vgg.folders == [vgg.name, f"{vgg.name}-binary-dropout"]
    assert not any("--variant" in job.command or job.variant for job in reproduction.jobs(["lenet"], variant="q75"))


def test_every_run_has_a_folder_of_its_own_and_every_table_a_quick_run_but_vgg_like():
    assert len({run.name for run in reproduction.PAPER_RUNS}) == len(reproduction.PAPER_RUNS)
    assert {run.table for run in reproduction.PAPER_RUNS if run.quick_epochs} == {"lenet", "random-labels",
                                                                                  "logistic-regression"}
