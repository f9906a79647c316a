import json
import os
import re
import shutil
import subprocess
import tempfile

import pytest

import scripts
from conftest import ROOT
import samples
from experiments import paper_tables
from samples import SUMMARY
from utils import results


def write_run(folder, **values):
    folder.mkdir(parents=True)
    own = dict(network="LeNet-300-100", method="SparseVD", dataset="mnist", epochs=200, threshold=3.0, seed=1,
               start="random", flags=[], test_error_percent=2.0, compression=100.0, structure=None,
               sparsity_percent=dict(dense1=99.0, dense2=98.0))
    summary = samples.summary(**{**own, **values})
    del summary["format"]   # the first one
    (folder / "summary.json").write_text(json.dumps(summary))


def tables(*flags):
    return scripts.run("paper_tables", *flags, cwd=ROOT)


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
    assert "1.50 (0.71)" in line and "90x (14)" in line and "99.0 - 98.0 " in line
    assert "68x" in output and "98.2 - 98.2 - 94.5" in output


def test_runs_that_started_from_other_weights_stand_alone(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", start="Dense", test_error_percent=1.0)
    output = tables("--results", tmp_path).stdout
    assert "SparseVD, measured" in output and "SparseVD from dense, measured" in output
    assert len(results.collect(str(tmp_path))) == 2


def test_runs_whose_starts_or_teachers_were_trained_otherwise_stand_alone(tmp_path):
    start = results.recipe(samples.summary(method="dense", epochs=60))
    for name, seed, recipes in (("a", 1, {"start_recipe": start}), ("b", 2, {"start_recipe": {**start}}),
                                ("c", 3, {"start_recipe": {**start, "epochs": 200}}), ("d", 4, {}),
                                ("e", 5, {"teacher_recipe": start, "flags": ["--teacher T"]}),
                                ("f", 6, {"teacher_recipe": {**start, "k": 2.0}, "flags": ["--teacher T"]})):
        write_run(tmp_path / name, seed=seed, start="Dense", **recipes)
    groups = results.collect(str(tmp_path))
    found = [[summary["seed"] for summary in group.summaries] for group in groups]
    assert sorted(found) == [[1, 2], [3], [4], [5], [6]]
    assert {summary["seed"]: group.origin for group in groups for summary in group.summaries} == {
        1: "60 epochs", 2: "60 epochs", 3: "200 epochs", 4: "", 5: "k = 1", 6: "k = 2"}


def test_rows_that_would_read_the_same_say_what_their_starts_differ_in(tmp_path):
    start = results.recipe(samples.summary(method="dense", epochs=60, flags={}))
    recipes = ({"start_recipe": start}, {"start_recipe": {**start, "flags": {"shift": 2, "augment": False}}})
    for seed, recipe in enumerate(recipes):
        write_run(tmp_path / f"from-dense-{seed}", start="Dense", **recipe)
    # Two runs back.
    between = results.recipe(samples.summary(method="sparse-vd", start="dense"))
    for seed, recipe in enumerate(recipes):
        write_run(tmp_path / f"cut-{seed}", start="SparseVD", start_recipe={**between, **recipe})
    output = tables("--results", tmp_path).stdout
    for text in ("SparseVD from dense, measured", "SparseVD from dense (--shift 2 --no-augment), measured",
                 "SparseVD from SparseVD, measured", "SparseVD from SparseVD (--shift 2 --no-augment), measured"):
        assert text in output


def test_a_run_of_before_recipes_were_kept_stands_with_those_it_can_belong_to(tmp_path):
    start = results.recipe(samples.summary(method="dense", epochs=60))
    write_run(tmp_path / "old", seed=1, start="Dense")
    write_run(tmp_path / "new", seed=2, start="Dense", start_recipe=start)
    assert [len(group.summaries) for group in results.collect(str(tmp_path))] == [2]


def test_nested_recipes_are_joined_and_what_fits_two_stands_alone(tmp_path):
    dense = [results.recipe(samples.summary(method="dense", epochs=epochs)) for epochs in (60, 200)]
    for name, recipe in (("old", None), ("new", dense[0])):
        start = results.recipe(samples.summary(start="dense", start_recipe=recipe))
        write_run(tmp_path / name, start="SparseVD", seed=len(name), start_recipe=start)
    assert [len(group.summaries) for group in results.collect(str(tmp_path))] == [2]
    write_run(tmp_path / "other", start="SparseVD", start_recipe=results.recipe(
        samples.summary(start="dense", start_recipe=dense[1])))
    assert [len(group.summaries) for group in results.collect(str(tmp_path))] == [1, 1, 1]


def test_runs_of_other_scripts_stand_alone_and_name_them(tmp_path):
    """Flags are what is not the script's own: the same ones mean another training."""
    for seed, script in enumerate(("random_labels", "lenet_300_100", "gradient_variance"), 1):
        write_run(tmp_path / script, seed=seed, experiment=script)
    groups = results.collect(str(tmp_path))
    assert {group.origin: [summary["seed"] for summary in group.summaries] for group in groups} == {
        "lenet_300_100.py": [2, 3], "random_labels.py": [1]}
    assert "SparseVD (random_labels.py), measured" in tables("--results", tmp_path).stdout


def test_widths_that_the_paper_has_not_are_listed_too(tmp_path):
    write_run(tmp_path / "wide", network="LeNet-300-100, k = 2")
    line = next(line for line in tables("--results", tmp_path).stdout.splitlines() if "measured" in line)
    assert line.startswith("LeNet-300-100, k = 2")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for script in ("paper_tables", "paper_figures"):
        result = scripts.run(script, "--results", tmp_path / "nosuch", cwd=ROOT)
        assert result.returncode == 1 and "nosuch is no folder: name one that holds runs" in result.stderr
    assert not (tmp_path / "nosuch").exists()


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


@pytest.mark.parametrize("name, content", [
    ("summary.json", "{"), ("summary.json", {"compression": "much"}), ("summary.json", {"nonzero": {"dense1": 1}}),
    ("summary.json", {"seed": None}), ("summary.json", {"nonzero": {"dense1": 2 ** 53, "dense2": 6},
                                                        "weights": {"dense1": 2 ** 53 + 1, "dense2": 12}}),
    ("summary.json", {"parts": {"words": {"before": 9, "left": 3}}}), ("summary.json", {"valid_bits": 1.0}),
    ("summary.json", {"parts": {"words": {"before": 9, "left": 3}}, "valid_perplexity": 1.0}),
    ("summary.json", {"flags": {"kl_weight": "much"}}), ("summary.json", {"flags": {"kl_weight": [1]}}),
    ("summary.json", {"flags": {"kl_weight": 10 ** 400}}), ("summary.json", {"format": 3}),
    ("config.json", {"settings": {}}),
    ("history.csv", "epoch\n1\n"), ("history.csv", "epoch,\"\n1"), ("baselines.json", {"L1, scikit-learn": 1}),
    ("gradient_variance.json", {"rows": [{}]}), ("thresholds.json", "[" * 100_000)])
def test_a_damaged_run_is_named_and_left_out(tmp_path, capsys, name, content):
    for run in ("good", "bad"):
        samples.write_run(tmp_path / run)
    path = tmp_path / "bad" / name
    path.write_text(content if isinstance(content, str) else json.dumps({**json.loads(path.read_text()), **content}))
    for _ in range(2):
        group, = results.collect(str(tmp_path))
        assert [summary["folder"] for summary in group.summaries] == [str(tmp_path / "good")]
    warning, = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: skipped: ") and str(path) in warning


@pytest.mark.parametrize("changed", [
    {name: {"dense1": SUMMARY[name]["dense1"], "other": SUMMARY[name]["dense2"]}
     for name in ("weights", "nonzero", "sparsity_percent", "compression_by_layer")},
    {"parts": {"symbols": {"before": 9, "left": 3}}, "valid_error_percent": 4.0},
    {"parts": {"words": {"before": 9, "left": 3}}, "valid_bits": 4.0, "test_bits": 4.0}])
def test_a_run_of_other_layers_or_measures_than_its_group_is_left_out(tmp_path, capsys, changed):
    own = {"network": "word-lstm", "parts": {"words": {"before": 9, "left": 3}}, "valid_error_percent": 5.0}
    for number, more in enumerate((changed, {}, {})):
        samples.write_run(tmp_path / str(number))
        (tmp_path / str(number) / "summary.json").write_text(json.dumps({**SUMMARY, **own, "seed": number, **more}))
    group, = results.collect(str(tmp_path))
    assert [summary["seed"] for summary in group.summaries] == [1, 2]
    assert "0/summary.json has other layers or measures" in capsys.readouterr().err
    assert sum("measured" in str(row) for row in paper_tables.texts([group])) == 1


def test_weights_of_the_kl_term_by_layer_are_kept(tmp_path):
    samples.write_run(tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text(json.dumps(
        {**SUMMARY, "method": "sbp", "flags": {"kl_weight": [1.0, 2.0]}}))
    assert results.collect(str(tmp_path))[0].values == {"kl_weight": [1.0, 2.0]}


def test_tables_of_the_other_runs_are_printed_beside_a_damaged_one(tmp_path):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", test_error_percent=1000)
    result = tables("--results", tmp_path)
    assert result.returncode == 0 and "2.00" in result.stdout and "1000.0" not in result.stdout
    assert len(result.stderr.splitlines()) == 1 and str(tmp_path / "bad") in result.stderr


def of_committed_runs(folder):
    """What the command prints from the runs that are committed, of which it makes a copy; None outside a checkout."""
    listed = subprocess.run(["git", "ls-files", "--", "results"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        return None
    for path in listed.stdout.split():
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), target)
    return tables("--results", os.path.join(folder, "results"), "--format", "github").stdout


@pytest.fixture
def printed(tmp_path):
    output = of_committed_runs(tmp_path)
    if output is None:
        pytest.skip("which runs are the project's is known in a git checkout only")
    return output


RESULTS, README = (os.path.join(ROOT, *path) for path in (("docs", "results.md"), ("README.md",)))
RESULT = re.compile(r"(?<=^## Result\n).*?(?=^## )", re.M | re.S)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows(text):
    """Lines of tables without their padding, which depends on the other lines."""
    return [re.sub(r" +|-+", lambda found: found.group()[0], line) for line in text.split("\n") if line[:1] == "|"]


def test_the_page_of_results_shows_what_the_command_prints(printed):
    page = read(RESULTS)
    assert printed.count("**") == 12 and all(table.strip() in page for table in re.split(r"^\*\*", printed)[1:])


def test_the_readmes_result_is_lines_of_what_the_command_prints(printed):
    header, line, *shown = rows(RESULT.search(read(README)).group())
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


def test_runs_that_counted_their_units_have_a_table(tmp_path):
    def structure(units, left):
        counts = dict(before=545000, left=left)
        return dict(units=dict(before=[784, 500, 300], left=units), multiplications=counts, weights=counts)
    own = dict(network="LeNet-500-300", method="SBP")
    write_run(tmp_path / "a", seed=1, structure=structure([200, 100, 40], 24400), **own)
    write_run(tmp_path / "b", seed=2, structure=structure([220, 100, 50], 27500), **own)
    write_run(tmp_path / "c", network="LeNet-5-Caffe")
    output = tables("--results", tmp_path, "--table", "units").stdout
    line, = (line for line in output.splitlines() if "measured" in line)
    assert "210 (14) - 100 - 45 (7)" in line and "25,950 (21.1 (1.8)x fewer)" in line
    assert "SBP, paper  " in output and "SSL, paper; not run here" in output


def test_a_run_without_units_does_not_hide_those_of_its_row(tmp_path):
    counts, units = dict(before=2293000, left=1000000), dict(before=[20, 50, 800, 500], left=[17, 30, 322, 59])
    counted = dict(units=units, multiplications=counts, weights=counts)
    write_run(tmp_path / "old", network="LeNet-5-Caffe", test_error_percent=9.0)
    write_run(tmp_path / "new", network="LeNet-5-Caffe", seed=2, test_error_percent=0.9, structure=counted)
    output = tables("--results", tmp_path, "--table", "units").stdout
    line, = (line for line in output.splitlines() if "measured" in line)
    assert " 1       0.90 " in line and "17 - 30 - 322 - 59" in line


def test_a_seed_that_ran_twice_is_told(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_run(tmp_path / name, seed=seed)
    assert " 3 (2 seeds) " in tables("--results", tmp_path).stdout


def test_what_no_table_has_is_said_and_other_data_sets_have_their_rows(tmp_path):
    for name, values in (("a", dict(validation=100)), ("r", dict(validation=100, random_labels=True)), ("b", dict(
            network="logistic-regression", dataset="digits", dataset_title="digits"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(samples.summary(**values)))
    result = tables("--results", tmp_path)
    assert result.stderr == "Not in the tables: 2 runs with --validation, trained on fewer images.\n"
    line, = (line for line in result.stdout.splitlines() if "measured" in line)
    assert "digits  " in line


def test_every_table_in_latex(tmp_path):
    output = tables("--results", tmp_path, "--format", "latex").stdout
    assert output.count(r"\begin{tabular}") == output.count(r"\end{tabular}") == 6


def main():
    """Puts what the command prints into the documents; into the README, of the first table, the rows that it has."""
    with tempfile.TemporaryDirectory() as folder:
        printed = of_committed_runs(folder)
    page = read(RESULTS)
    for title, table in re.findall(r"^(\*\*.+\*\*\n\n)((?:\|.*\n)+)", printed, re.M):
        page = re.sub(re.escape(title) + r"(?:\|.*\n)+", lambda _: title + table, page)
    readme, first = read(README), re.search(r"(?:^\|.*\n)+", printed, re.M).group()
    shown = [text.split("|")[1:3] for text in rows(RESULT.search(readme).group())[2:]]
    head, line, *others = first.splitlines(keepends=True)
    table = head + line + "".join(text for text in others if rows(text)[0].split("|")[1:3] in shown)
    readme = RESULT.sub(lambda found: re.sub(r"(?:^\|.*\n)+", lambda _: table, found.group(), count=1, flags=re.M),
                        readme, count=1)
    for path, text in ((RESULTS, page), (README, readme)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
