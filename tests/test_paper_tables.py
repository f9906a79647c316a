import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, script
from utils import results
from utils.errors import UserError


def write_run(folder, **values):
    folder.mkdir(parents=True)
    summary = dict(network="LeNet-300-100", method="SparseVD", dataset="mnist", epochs=200, threshold=3.0, seed=1,
                   test_error_percent=2.0, sparsity_percent=dict(dense1=99.0, dense2=98.0), compression=100.0)
    (folder / "summary.json").write_text(json.dumps({**summary, **values}))


def tables(*flags):
    return subprocess.run(script("paper_tables", *flags), capture_output=True, text=True, timeout=120)


def test_runs_that_differ_in_the_seed_are_averaged(tmp_path):
    write_run(tmp_path / "a", seed=2)
    write_run(tmp_path / "b", seed=1, test_error_percent=1.0, compression=80.0)
    write_run(tmp_path / "c", dataset="digits")
    (tmp_path / "unfinished").mkdir()
    digits, mnist = results.collect(str(tmp_path))
    assert (digits.dataset, len(digits.summaries)) == ("digits", 1)
    assert [summary["seed"] for summary in mnist.summaries] == [1, 2]

    output = tables("--results", tmp_path).stdout
    line = next(line for line in output.splitlines() if "measured" in line and "mnist" in line)
    assert "1.50 (0.71)" in line and "90x (14)" in line and "99.0 (0.0) - 98.0 (0.0)" in line
    assert "68x" in output and "98.2 - 98.2 - 94.5" in output


def test_runs_that_started_from_other_weights_stand_alone(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", start="Dense", test_error_percent=1.0)
    output = tables("--results", tmp_path).stdout
    assert "SparseVD, measured" in output and "SparseVD from dense, measured" in output
    assert len(results.collect(str(tmp_path))) == 2


def test_runs_of_other_hyper_parameters_stand_alone_and_name_them(tmp_path):
    write_run(tmp_path / "a", flags=[])
    write_run(tmp_path / "b", flags=["--no-kl-warm-up", "--log-sigma2 -8"])
    output = tables("--results", tmp_path).stdout
    assert "SparseVD, measured" in output and "SparseVD, --no-kl-warm-up --log-sigma2 -8, measured" in output


@pytest.mark.parametrize("compressions, text", [([None, None], "all pruned"), ([None, 100.0], "all pruned in 1 of 2")])
def test_wholly_pruned_networks_are_counted(tmp_path, compressions, text):
    for seed, compression in enumerate(compressions):
        write_run(tmp_path / str(seed), seed=seed, compression=compression)
    output = tables("--results", tmp_path).stdout
    assert text in output and "inf" not in output and "nan" not in output


def test_without_runs_the_papers_rows_stand_alone(tmp_path):
    result = tables("--results", tmp_path)
    assert result.returncode == 0 and "measured" not in result.stdout and "1.92" in result.stdout


def test_a_damaged_summary_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{")
    with pytest.raises(UserError, match="run/summary.json"):
        results.collect(str(tmp_path))


@pytest.fixture
def printed(tmp_path):
    """What the command prints from the runs that are committed."""
    listed = subprocess.run(["git", "ls-files", "--", "results"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("which runs are the project's is known in a git checkout only")
    for path in listed.stdout.split():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), tmp_path / path)
    return tables("--results", tmp_path / "results", "--format", "github").stdout


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_the_page_of_results_shows_what_the_command_prints(printed):
    page = read("docs", "results.md")
    assert printed.count("**") == 8 and all(table.strip() in page for table in re.split(r"^\*\*", printed)[1:])


def test_the_readmes_result_is_lines_of_what_the_command_prints(printed):
    def rows(text):
        """Lines of tables without their padding, which depends on the other lines."""
        return [re.sub(r" +|-+", lambda found: found.group()[0], line) for line in text.split("\n") if line[:1] == "|"]
    result, = re.findall(r"^## Result\n(.*?)^## ", read("README.md"), re.M | re.S)
    header, line, *shown = rows(result)
    assert 6 <= len(shown) <= 8 and {header, line, *shown} <= set(rows(printed))


def test_random_labels_have_a_table_of_accuracies(tmp_path):
    write_run(tmp_path / "a", network="LeNet-300-100, k = 1", dataset="mnist (random labels)", compression=None,
              sparsity_percent_total=100.0, test_error_percent=90.2, final_train_error_percent=89.0)
    output = tables("--results", tmp_path, "--table", "random-labels").stdout
    line = next(line for line in output.splitlines() if "measured" in line)
    assert line.split()[-3:] == ["0.110", "0.098", "100.00"]
    assert "Binary dropout, paper; not run here" in output and "SparseVD, paper " in output
    assert "measured" not in tables("--results", tmp_path, "--table", "lenet").stdout


def test_logistic_regression_stands_beside_scikit_learns(tmp_path):
    write_run(tmp_path / "a", network="Logistic regression", dataset="digits-8x8", sparsity_percent=dict(dense1=75.0),
              sparsity_percent_total=75.0, test_error_percent=5.0, final_train_error_percent=1.0)
    (tmp_path / "a" / "baselines.json").write_text(json.dumps(
        {"L1, scikit-learn": dict(test_accuracy=0.94, sparsity_percent=33.3)}))
    lines = tables("--results", tmp_path, "--table", "logistic-regression").stdout.splitlines()
    own = [line.split() for line in lines if "measured" in line]
    assert own[0][-3:] == ["0.990", "0.950", "75.0"] and own[1][-2:] == ["0.940", "33.3"]
    assert sum("not run here" in line for line in lines) == 5


def test_every_table_in_latex(tmp_path):
    output = tables("--results", tmp_path, "--format", "latex").stdout
    assert output.count(r"\begin{tabular}") == output.count(r"\end{tabular}") == 4
