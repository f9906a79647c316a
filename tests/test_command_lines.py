"""What the command lines of the scripts have in common."""

import os
import subprocess

import pytest

import scripts
from conftest import ROOT
from experiments import data_sets, paper_tables, results_page
from experiments.common import cli, status
from experiments.common.experiment import run as run_experiment
from nets.schedules import Constant
from utils import runs
from utils.errors import UserError

SCRIPTS = sorted(name.removesuffix(".py") for name in os.listdir(os.path.join(ROOT, "experiments"))
                 if name.endswith(".py") and not name.startswith("_"))
EXPERIMENT = cli.Experiment("made_up", ("lenet-300-100",), "digits",
                            {name: dict(learning_rate=Constant(1e-3)) for name in ("sparse-vd", "dense")})


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_answers_and_does_nothing_else(name, tmp_path):
    result = scripts.run(name, "--help", cwd=tmp_path)
    assert result.returncode == 0 and result.stdout.startswith(f"usage: experiments/{name}.py") and not result.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("script, arguments, text", [
    (paper_tables, ["--jobs", "2"], "--jobs is of --run"),
    (results_page, ["--port", "80"], "--host and --port are of --serve"),
    (results_page, ["--serve", "--output", "x.html"], "--serve writes none"),
    (data_sets, ["mnist", "--part", "0.5"], "--part is of texts, and mnist is none"),
    (data_sets, ["bible", "--length", "5"], "--length is of documents, and bible is none"),
    (data_sets, ["--vocabulary", "5"], "--vocabulary is of texts and documents")])
def test_flags_that_would_do_nothing_are_refused(script, arguments, text, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", *arguments])
    with pytest.raises(SystemExit) as exit:
        script.main()
    error = capsys.readouterr().err
    assert exit.value.code == 2 and text in error and error.count("\n") == 1


@pytest.mark.parametrize("text", ["-0.001", "-1e-3", "-.5E+2", "-3."])
def test_negative_numbers_are_values(text):
    parser = status.Parser("x", "")
    parser.add_argument("--number", type=float)
    assert parser.parse_args(["--number", text]).number == float(text)


def test_closed_outputs_do_not_matter(tmp_path):
    command = scripts.command("compress", "nowhere")
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        result = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], cwd=tmp_path, capture_output=True,
                                text=True, timeout=600)
        assert result.returncode == 1 and "Traceback" not in result.stderr
        assert ("nowhere" in result.stderr) == ("2>" not in closed)


# --output and --resume

def parse(*arguments):
    return cli.parse(EXPERIMENT, "", [str(argument) for argument in arguments])


def test_a_slash_behind_the_folder_does_not_matter(tmp_path):
    assert parse("--output", f"{tmp_path}/run/").folder == f"{tmp_path}/run"


@pytest.mark.parametrize("flag", ["--output", "--init-from"])
def test_empty_values_are_refused(flag):
    with pytest.raises(UserError, match=f"{flag} is empty"):
        parse(flag, "")


def test_a_run_that_was_stopped_in_its_pretraining_is_resumed_by_the_same_command(tmp_path):
    (tmp_path / "run-dense").mkdir()
    (tmp_path / "run-dense" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=f"the same command with --output {tmp_path}/run --resume"):
        parse("--resume", tmp_path / "run/")


def test_a_folder_with_a_run_is_refused_before_the_pretraining(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run already: go on with it by --resume"):
        run_experiment(parse("--pretrain", "dense", "--epochs", 1, "--output", tmp_path / "run"))
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("name", ["checkpoint.npz", "summary.json", "weights.npz"])
def test_what_is_left_of_a_run_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=f"has a run's {name} and no config.json"):
        runs.require_no_run(str(tmp_path))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file is no folder: name another with --output"):
        runs.require_no_run(str(tmp_path / "file"))
