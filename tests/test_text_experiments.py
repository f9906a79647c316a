"""The scripts of texts, from their command lines on, in this process: training, resuming, tables, errors."""

import importlib
import json
import os
import re
import sys

import numpy as np
import pytest
import theano
from PIL import Image

from data.sequences import pieces, streams
from experiments import compress, paper_tables, threshold_sweep
from experiments.common import cli
from experiments.common.experiment import run as run_experiment
from experiments.common.finished import FinishedRun
from nets.training import loop
from utils import files, published, results
from utils.errors import UserError
from utils.export import load
from utils.export.texts import compact_text
from utils.page.records import Limits, Record, references

#: Small networks on texts that are made up.
SMALL = {"char_lm": ("--units", 6, "--length", 60, "--batch-size", 100),
         "word_lm": ("--units", 6, "--length", 20, "--batch-size", 20),
         "text_classification": ("--units", 5, "--embedding", 4, "--length", 12, "--vocabulary", 60,
                                 "--learning-rate", 0.02)}


@pytest.fixture(scope="module", autouse=True)
def in_python():
    """Nothing but this project's own operations is compiled."""
    before, theano.config.mode = theano.config.mode, "FAST_COMPILE"
    yield
    theano.config.mode = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("texts"))


class Killed(Exception):
    """In place of a kill."""


def train(name, output, *flags, killed_after=None, epochs=3):
    """Runs a script's command line; the folder of the run."""
    module = importlib.import_module(f"experiments.{name}")
    words = ["--dataset", "made-up", "--epochs", epochs, *SMALL[name], "--output", output, *flags]

    def after_epoch(epoch, *_):
        if epoch == killed_after:
            raise Killed
    run_experiment(cli.parse(module.EXPERIMENT, module.__doc__, [str(word) for word in words]), after_epoch)
    return output


RUNS = {"characters": ("char_lm", "--structure", "gates"), "words": ("word_lm", "--structure", "vocabulary"),
        "documents": ("text_classification", "--method", "dense")}


@pytest.fixture(scope="module", params=RUNS)
def run(request, folder):
    """A finished run."""
    return request.param, train(RUNS[request.param][0], os.path.join(folder, request.param), *RUNS[request.param][1:])


@pytest.mark.parametrize("name", ["characters", "words"])
def test_a_run_of_another_text_is_no_start(name, folder):
    """Its tokens have other numbers, even where there are as many."""
    script, *flags = RUNS[name]
    start = train(script, os.path.join(folder, f"{name}-of-a-part"), *flags, "--part", 0.9, epochs=1)
    for path in start, os.path.join(start, "weights.npz"):
        with pytest.raises(UserError, match="start from a run of the same --dataset and --part"):
            train(script, os.path.join(folder, "other"), *flags, "--init-from", path)
    assert not os.path.exists(os.path.join(folder, "other"))
    train(script, os.path.join(folder, f"{name}-again"), *flags, "--part", 0.9, "--init-from", start, epochs=1)


def test_its_summary_says_what_its_history_does(run):
    name, folder = run
    summary, history = results.read_summary(folder), results.history(folder)
    shown = history[(summary["best_epoch"] if name == "documents" else 3) - 1]
    for key in ("valid_nll", "test_nll", "valid_error_percent", "test_error_percent", "compression"):
        assert summary[key] == pytest.approx(shown[key], rel=1e-9)
    for part, count in summary["parts"].items():
        assert count["left"] == shown[f"{part}_left"] <= count["before"]
    if name == "characters":
        assert summary["test_bits"] == pytest.approx(summary["test_nll"] / np.log(2))
        assert list(summary["weights"]) == ["lstm.W_x", "lstm.W_h", "output"]
    elif name == "words":
        assert summary["valid_perplexity"] == pytest.approx(np.exp(summary["valid_nll"]))
    else:
        assert summary["best_epoch"] == 1 + np.argmin([row["valid_nll"] for row in history])
        assert "best on validation data" in open(os.path.join(folder, "log.txt")).read()
    assert history[-1]["train_nll"] < history[0]["train_nll"]
    pruned = files.read_arrays(os.path.join(folder, "weights_pruned.npz"))
    for layer, left in summary["nonzero"].items():
        assert left == np.count_nonzero(pruned[layer if "." in layer else f"{layer}.W"])


def test_killed_after_an_epoch_it_ends_with_the_same_bits(run, folder):
    name, whole = run
    script, *flags = RUNS[name]
    output = os.path.join(folder, f"{name}-killed")
    with pytest.raises(Killed):
        train(script, output, *flags, killed_after=2)
    train(script, output, *flags, "--resume")
    for file in ("weights.npz", "weights_pruned.npz"):
        expected, found = (files.read_arrays(os.path.join(where, file)) for where in (whole, output))
        assert list(found) == list(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    told = [{**results.read_summary(where), "seconds": 0, "folder": ""} for where in (whole, output)]
    assert told[0] == told[1]


def test_tables_and_page_show_it(run):
    name, folder = run
    rows = paper_tables.texts(results.collect(os.path.dirname(folder)))
    assert all(len(row) == len(paper_tables.TEXT_HEADERS) for row in rows)
    assert sum("authors' log" in row[1] for row in rows) == len(published.TEXTS) == 18
    measured = [row for row in rows if "measured" in row[1]]
    assert any({"characters": "bits", "words": "perplexity", "documents": "error %"}[name] in row[5]
               for row in measured)
    record = Record(folder)
    assert record.row["error"] == results.read_summary(folder)["test_error_percent"]
    details = record.details(Limits(1))
    json.dumps([record.row, details, references()], allow_nan=False)
    measure = {"characters": "test_bits", "words": "test_perplexity", "documents": "valid_nll"}[name]
    assert {measure, "valid_error_percent", "neurons_left"} <= set(details["history"])


def test_scripts_of_images_refuse_it(run):
    with pytest.raises(UserError, match="is a run on made-up.*takes networks of images"):
        FinishedRun(run[1]).dataset()
    with pytest.raises(UserError, match="takes networks of images"):
        FinishedRun(run[1]).exported()


def test_without_theano_it_predicts_the_same(run):
    name, folder = run
    finished = FinishedRun(folder)
    examples = finished.texts()
    network = finished.exported_texts(examples)
    assert network.task == finished.task == name
    inputs, targets = examples.test.inputs, examples.test.targets
    if name == "words":       # a row for each stream
        inputs, targets = (np.concatenate(part, axis=1) for part in zip(*examples.test.batches(20, None)))
    for found in (network, compact_text(network)):
        nll, error = found.evaluate(found.ids(examples.vocabulary)[inputs], targets)
        assert nll == pytest.approx(results.read_summary(folder)["test_nll"], rel=1e-5)
        assert error == pytest.approx(results.read_summary(folder)["test_error_percent"], abs=0.05)


def test_settings_that_are_missing_or_none_are_named(run, tmp_path):
    name, folder = run
    config, summary = (files.read_json(os.path.join(folder, f"{file}.json")) for file in ("config", "summary"))
    files.write_json(tmp_path / "summary.json", summary)
    for section, key in ((None, "units"), ("dataset", "length"), *{
            "words": [("training", "batch_size")], "documents": [(None, "embedding")]}.get(name, ())):
        for value, text in (("x", "config.json is not as this project"), (None, f"config.json does not say {key}")):
            changed = json.loads(json.dumps(config))
            own = changed["settings"][section] if section else changed["settings"]
            own[key] = value
            if value is None:
                del own[key]
            files.write_json(tmp_path / "config.json", changed)
            with pytest.raises(UserError, match=text):
                FinishedRun(str(tmp_path)).texts()


def test_it_becomes_a_file(run, capsys, monkeypatch):
    for package in ("constriction", "safetensors"):
        pytest.importorskip(package, reason=f"{package} is not installed (requirements-export.txt)")
    name, folder = run
    for flags in ([], ["--values", "float32"]):
        monkeypatch.setattr(sys, "argv", ["compress.py", folder, *flags])
        compress.main()
        out = capsys.readouterr().out
        assert f"network.safetensors, {'float32' if flags else 'shared values of'}" in out
        assert "0 have another class" in out and "neurons" in out
        if name == "characters":
            network, test = load(os.path.join(folder, "network.safetensors")), FinishedRun(folder).texts().test
            text = np.column_stack([test.inputs, test.targets[:, -1]]).ravel()
            length = len(text) // 20
            text = text[:20 * length].reshape(20, length)
            own = np.take_along_axis(network.probabilities(text[:, :-1]), text[:, 1:, np.newaxis], -1)
            assert f"pieces of {length:,} characters, the test text takes it {-np.log2(own).mean():.4f}" in out
    cells = next(line for line in out.splitlines() if line.startswith("network.safetensors")).split()
    assert float(cells[4]) == pytest.approx(results.read_summary(folder)["test_error_percent"], abs=0.01)
    path = os.path.join(folder, "network.safetensors")
    monkeypatch.setattr(sys, "argv", ["compress.py", path, "--predict", "the"])
    compress.main()
    assert capsys.readouterr().out.startswith("the: " if name == "documents" else "the")
    for flags in ([folder, "--c", "net.c"], [path, "--onnx", "net.onnx"]):
        monkeypatch.setattr(sys, "argv", ["compress.py", *flags])
        with pytest.raises(UserError, match="take networks of images"):
            compress.main()


def test_its_threshold_is_moved(run, folder, capsys, monkeypatch):
    name, own = run
    # Where half of the weights are cut, that were trained for three epochs.
    monkeypatch.setattr(sys, "argv", ["threshold_sweep.py", own, "--thresholds", "-5.5", "3"])
    if name == "documents":
        with pytest.raises(UserError, match="a run of Dense, which has no log alpha"):
            threshold_sweep.main()
        return
    threshold_sweep.main()
    assert "validation data" in capsys.readouterr().out
    trained, cut = results.read_thresholds(own)["thresholds"]
    script, *flags = RUNS[name]
    other = train(script, os.path.join(folder, f"{name}-cut"), *flags, "--final-threshold", "-5.5")
    for found, summary in ((trained, results.read_summary(own)), (cut, results.read_summary(other))):
        assert found["nonzero"] == sum(summary["nonzero"].values()) > 0
        for key in ("valid_error_percent", "test_error_percent"):
            assert found[key.replace("valid_", "")] == pytest.approx(summary[key])
        measure = {"characters": "bits", "words": "perplexity"}[name]
        assert found[measure] == pytest.approx(summary[f"valid_{measure}"])
        assert found[f"test_{measure}"] == pytest.approx(summary[f"test_{measure}"])
    assert cut["nonzero"] < trained["nonzero"]
    with Image.open(os.path.join(own, "thresholds.png")) as picture:
        assert picture.width > 1000
    json.dumps(Record(own).details(Limits(1)), allow_nan=False)


def test_it_starts_from_the_dense_networks_best_weights(folder, capsys):
    output = train("char_lm", os.path.join(folder, "pair"), "--pretrain", "dense", "--structure", "neurons", epochs=1)
    dense = files.read_arrays(os.path.join(f"{output}-dense", "weights.npz"))
    assert set(dense) == {"lstm.W_x", "lstm.W_h", "lstm.b", "output.W", "output.b"}
    assert "log sigma^2 = -6" in capsys.readouterr().out
    assert results.read_summary(output)["start"] == "dense"


def test_the_best_epoch_is_the_first_of_equal_ones():
    assert loop.best_epoch([{"epoch": number, "valid_nll": value} for number, value in enumerate((3, 1, 1, 2), 1)]) == 2


def test_the_text_in_pieces_and_in_streams():
    text = np.arange(23, dtype="int32")
    cut = pieces(text, 5)
    np.testing.assert_array_equal(cut.inputs, [[0, 1, 2, 3], [5, 6, 7, 8], [10, 11, 12, 13], [15, 16, 17, 18]])
    np.testing.assert_array_equal(cut.targets, cut.inputs + 1)
    # 22 predictions are 2 streams of 11, of which 3 batches of 3 are whole.
    side_by_side = streams(text, 2, 3)
    batches = list(side_by_side.batches(2, None))
    assert len(batches) == side_by_side.num_batches(2) == 3
    for stream, first in enumerate((0, 9)):
        np.testing.assert_array_equal(np.concatenate([inputs[stream] for inputs, _ in batches]),
                                      np.arange(first, first + 9))
    np.testing.assert_array_equal(side_by_side.targets, side_by_side.inputs + 1)


@pytest.mark.parametrize("flags, problem", [
    (("--length", 100000), "holds no piece of 100000: give a smaller --length"),
    (("--length", 1), "give a larger --length"),
    (("--batch-size", 100000), "--batch-size 100000 is more than the"),
    (("--structure", "none", "--parameterization", "multiplicative"), "leave --parameterization out")])
def test_what_does_not_fit_is_one_line(flags, problem, tmp_path):
    with pytest.raises(UserError, match=problem):
        train("char_lm", str(tmp_path / "run"), *flags)
    assert not (tmp_path / "run").exists()


def test_flags_of_images_are_refused(capsys):
    module = importlib.import_module("experiments.char_lm")
    for flag in ("--augment", "--random-labels", "--snapshots", "--k=2", "--embedding=3"):
        with pytest.raises(SystemExit):
            cli.parse(module.EXPERIMENT, "", [flag])
        assert re.search(rf"{flag}", capsys.readouterr().err)
