import json

import pytest

from conftest import ROOT
from experiments.common import reproduction
from utils.errors import UserError


@pytest.fixture
def jobs(monkeypatch):
    """Two runs that need no download, and one of another table."""
    monkeypatch.chdir(ROOT)
    job = reproduction.Job("a-seed1", "lenet", "logistic_regression", "digits-8x8", ("--seed", "3"), 200, 1, 1)
    monkeypatch.setattr(reproduction, "JOBS", (
        job, job._replace(name="b-seed1", flags=("--learning-rate", "0")),
        job._replace(name="c-seed1", table="vgg-like"), job._replace(name="d-seed1", quick_epochs=None)))


def test_missing_runs_are_planned_and_trained_and_failures_named(jobs, tmp_path, capfd):
    (tmp_path / "done").mkdir()
    with pytest.raises(UserError, match=r"^b-seed1: .*--learning-rate"):
        reproduction.run(["lenet"], str(tmp_path), quick=True)
    printed = capfd.readouterr().out
    assert "Left out of the quick version: d-seed1." in printed and "2 runs, " in printed
    assert "a-seed1: done in" in printed and "b-seed1: failed after" in printed and "c-seed1" not in printed
    summary = json.loads((tmp_path / "a-seed1" / "summary.json").read_text())
    assert (summary["seed"], summary["epochs"]) == (3, 1)
    assert (tmp_path / "a-seed1" / "baselines.json").exists()

    with pytest.raises(UserError, match="^b-seed1"):
        reproduction.run(["lenet"], str(tmp_path), quick=True)
    assert "1 runs, " in capfd.readouterr().out


def test_stopped_runs_go_on_and_cifars_variant_is_cifars(tmp_path):
    vgg, = [job for job in reproduction.JOBS if job.name == "vgg_like-cifar10-k0.5-seed1"]
    (tmp_path / vgg.name).mkdir()
    (tmp_path / vgg.name / "config.json").write_text("{}")
    command = reproduction.command(vgg, str(tmp_path), variant="q75", data_dir="data")
    assert command[0] == "experiments/vgg_like.py" and command[-1] == "--resume"
    assert command[command.index("--variant") + 1] == "q75" and command[command.index("--k") + 1] == "0.5"
    lenet = reproduction.command(reproduction.JOBS[0], str(tmp_path), variant="q75")
    assert "--variant" not in lenet and "--resume" not in lenet


def test_every_run_has_a_folder_of_its_own_and_every_table_a_quick_run_but_vgg_like():
    assert len({job.name for job in reproduction.JOBS}) == len(reproduction.JOBS)
    assert {job.table for job in reproduction.JOBS if job.quick_epochs} == {"lenet", "random-labels",
                                                                            "logistic-regression"}
