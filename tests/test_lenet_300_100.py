"""experiments/lenet_300_100.py through its command line, as a user runs it."""

import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import kill
import scripts
from utils import files

EPOCHS = 20
SHORT = ("--dataset", "digits", "--epochs", EPOCHS)
# Without a network even where there is one.
OFFLINE = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the output of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = scripts.run("lenet_300_100", *SHORT, "--output", folder, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def weights(folder):
    return files.read_arrays(folder / "weights.npz")


def assert_same_weights(folder, other):
    assert not kill.different_weights(folder, other)


#: Starts a script that sends itself a signal when it has written a line: signal, word in the line, script, flags.
SIGNALLED = """
import os, runpy, sys
number, word, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.argv[:] = sys.argv[3:]
sys.path[:1] = [os.path.dirname(script), os.path.dirname(os.path.dirname(script))]
from utils.runs import Run
log = Run.log

def log_and_signal(run, text=""):
    log(run, text)
    if word in text:
        os.kill(os.getpid(), number)
Run.log = log_and_signal
runpy.run_path(script, run_name="__main__")
"""


def signalled(number, word, *flags, cwd, **environment):
    """Starts experiments/lenet_300_100.py, which sends itself the signal `number` after it has said `word`."""
    _, *command = scripts.command("lenet_300_100", *flags)
    return subprocess.Popen([sys.executable, "-c", SIGNALLED, str(int(number)), word, *command], cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment})


def assert_one_line(result, *texts):
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for text in texts:
        assert str(text) in lines[0]


def test_help_answers(run_script):
    result = run_script("--help")
    assert result.returncode == 0
    for flag in ("--dataset", "--epochs", "--batch-size", "--seed", "--threshold", "--output", "--resume",
                 "--data-dir"):
        assert flag in result.stdout
    text = " ".join(result.stdout.split())
    assert "default: 200" in text and "default: mnist" in text


def test_a_run_prints_a_row_an_epoch_and_the_final_table(finished):
    folder, output = finished
    rows = re.findall(rf"^ *(\d+)/{EPOCHS} ", output, re.MULTILINE)
    assert rows == [str(epoch) for epoch in range(1, EPOCHS + 1)]
    for header in ("rate", "KL wt", "train loss", "test loss", "train err%", "test err%", "dense1 sp%", "compr.",
                   "sec"):
        assert header in output
    assert "SparseVD, this run, digits" in output and "SparseVD, paper, mnist" in output
    assert (folder / "log.txt").read_text() == output


def test_a_run_leaves_its_files(finished):
    folder, _ = finished
    assert sorted(os.listdir(folder)) == ["checkpoint.npz", "config.json", "curves.png", "history.csv", "log.txt",
                                          "network.json", "preprocessing.npz", "summary.json", "weights.npz",
                                          "weights_pruned.npz"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["training"]["seed"] == 1 and len(config["settings"]["dataset"]["fingerprint"]) == 64
    assert config["environment"]["Theano"] == "1.0.5" and config["environment"]["device"]
    assert "--dataset digits" in config["command"] and "git_commit" in config

    with open(folder / "history.csv") as file:
        history = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in history] == list(range(1, EPOCHS + 1))
    # The schedules are stretched from 200 epochs to 20: the rate is constant for half of them, then linear to 0.
    assert [float(row["learning_rate"]) for row in history] == pytest.approx(
        [1e-3] * 10 + [1e-3 * (20 - epoch) / 10 for epoch in range(10, 20)])
    assert [float(row["kl_weight"]) for row in history[:4]] == pytest.approx([0, 0.5 / 1.5, 1, 1])


def test_the_summary_is_what_the_weights_and_the_data_give(run_script, tmp_path, digits):
    # Few steps, so that a part of the weights is pruned; after more of them on so little data, all are.
    folder = tmp_path / "short"
    assert run_script("--dataset", "digits", "--epochs", 3, "--seed", 5, "--output", folder).returncode == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["epochs"], summary["seed"], summary["dataset"]) == (3, 5, "digits")
    arrays, pruned = weights(folder), files.read_arrays(folder / "weights_pruned.npz")
    kept = total = 0
    A = digits.test.inputs.reshape(len(digits.test.inputs), -1).astype("float64")
    for layer in ("dense1", "dense2", "dense3"):
        W, log_sigma2 = (arrays[f"{layer}.{name}"].astype("float64") for name in ("W", "log_sigma2"))
        mask = log_sigma2 - np.log(W ** 2 + 1e-8) < 3
        assert summary["sparsity_percent"][layer] == pytest.approx(100 * (1 - mask.mean()), abs=0.01)
        assert summary["nonzero"][layer] == np.count_nonzero(pruned[f"{layer}.W"])
        kept, total = kept + np.count_nonzero(pruned[f"{layer}.W"]), total + mask.size
        A = A @ pruned[f"{layer}.W"] + pruned[f"{layer}.b"]
        A = np.maximum(A, 0) if layer != "dense3" else A
    assert 0.05 < kept / total < 0.95
    assert summary["compression"] == pytest.approx(total / kept)
    assert summary["test_error_percent"] == pytest.approx(100 * np.mean(A.argmax(1) != digits.test.targets), abs=0.3)
    assert not any(name.endswith("log_sigma2") for name in pruned)


@pytest.mark.parametrize("after_epochs", [0, 3])
def test_killed_and_resumed_ends_with_the_same_bits(finished, run_script, tmp_path, after_epochs):
    """On another number of threads, and by two processes at once, one of which is refused (tests/kill.py has more)."""
    folder = tmp_path / "killed"
    row = f"{after_epochs}/{EPOCHS} " if after_epochs else "Compiling"
    killed = signalled(signal.SIGKILL, row, *SHORT, "--output", folder, cwd=tmp_path, OMP_NUM_THREADS="1")
    output, _ = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, output
    assert not (folder / "summary.json").exists()

    first = signalled(signal.SIGSTOP, "Compiling", "--resume", folder, cwd=tmp_path, OMP_NUM_THREADS="3")
    os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    second = run_script("--resume", folder, OMP_NUM_THREADS="3")
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=600)
    assert first.returncode == 0, output
    assert (f"Resumed after epoch {after_epochs} of {EPOCHS}" in output) == bool(after_epochs)
    assert_one_line(second, f"error: another process is training in {folder}: ")
    assert_same_weights(finished[0], folder)
    columns = [[{name: value for name, value in row.items() if name != "seconds"} for row in
                csv.DictReader((path / "history.csv").read_text().splitlines())] for path in (finished[0], folder)]
    assert columns[0] == columns[1]


def test_ctrl_c_ends_the_epoch_saves_and_says_how_to_resume(finished, run_script, tmp_path):
    process = signalled(signal.SIGINT, f"1/{EPOCHS} ", *SHORT, "--output", "stopped", cwd=tmp_path)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130, output
    assert "Stopping after this epoch" in output and "--resume stopped" in output
    assert (tmp_path / "stopped" / "curves.png").exists()

    assert run_script("--output", "stopped", "--resume").returncode == 0
    assert_same_weights(finished[0], tmp_path / "stopped")


def test_a_finished_run_is_not_trained_again(finished, run_script):
    before = weights(finished[0])
    result = run_script("--resume", finished[0])
    assert result.returncode == 0 and "SparseVD, this run, digits" in result.stdout
    assert f"{EPOCHS}/{EPOCHS} " not in result.stdout
    assert all(np.array_equal(before[name], value) for name, value in weights(finished[0]).items())


@pytest.mark.parametrize("flags, text", [
    (("--seed", 2), "seed is 1 there, not 2"), (("--epochs", 7), "epochs is 20 there, not 7"),
    (("--threshold", 2), "threshold is 3.0 there, not 2.0"), (("--batch-size", 50), "batch_size is 100 there, not 50")])
def test_resuming_another_run_is_refused(finished, run_script, flags, text):
    assert_one_line(run_script("--resume", finished[0], *flags), text)


def test_resuming_on_another_data_set_is_refused(finished, run_script, tmp_path):
    config = json.loads((finished[0] / "config.json").read_text())
    config["settings"]["dataset"].update(name="mnist", fingerprint="0" * 64)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    assert_one_line(run_script("--resume", "other", "--dataset", "digits"), "name is 'mnist' there")
    config["settings"]["dataset"].update(name="digits")
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    assert_one_line(run_script("--resume", "other"), "fingerprint is")


def test_resuming_a_run_of_another_experiment_is_refused(finished, run_script, tmp_path):
    config = json.loads((finished[0] / "config.json").read_text())
    config["settings"]["experiment"] = "lenet5_caffe"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    assert_one_line(run_script("--resume", "other"), "run of lenet5_caffe", "experiments/lenet5_caffe.py")


def damage_truncate(content):
    return content[:len(content) // 2]


def damage_flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:]


def damage_replace(content):
    file = io.BytesIO()
    np.savez(file, weights=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_replace])
def test_a_damaged_checkpoint_is_refused(finished, run_script, tmp_path, damage):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes((finished[0] / "config.json").read_bytes())
    damaged = damage((finished[0] / "checkpoint.npz").read_bytes())
    (tmp_path / "run" / "checkpoint.npz").write_bytes(damaged)
    assert_one_line(run_script("--resume", "run"), "run/checkpoint.npz")
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == damaged


def test_a_folder_with_a_run_is_not_overwritten(finished, run_script):
    assert_one_line(run_script(*SHORT, "--output", finished[0]), "holds a run already", "--resume")


@pytest.mark.parametrize("flags, texts", [
    (("--resume", "nowhere"), ("nowhere holds no run",)), (("--resume",), ("which run?",)),
    (("--resume", "a", "--output", "b"), ("two runs",)),
    (("--dataset", "digits", "--batch-size", 5000), ("--batch-size 5000",))])
def test_wrong_flags_get_one_line(run_script, flags, texts):
    assert_one_line(run_script(*flags), *texts)


@pytest.mark.parametrize("flags", [("--dataset", "imagenet"), ("--epochs", 0), ("--epochs", "many"), ("--seed", -1),
                                   ("--threshold", "nan"), ("--epoch", 3), ("--speed",)])
def test_unknown_flags_and_values_are_named(run_script, flags):
    result = run_script(*flags)
    assert result.returncode == 2 and flags[0] in result.stderr


def test_offline_one_line_says_what_to_do(run_script, tmp_path):
    result = run_script("--dataset", "mnist", "--data-dir", "there", **OFFLINE)
    assert_one_line(result, "https://", "there/mnist", "--dataset digits")


def test_a_truncated_data_file_is_named(run_script, tmp_path):
    path = tmp_path / "there" / "mnist" / "train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b\x08\0" + b"\0" * 100)
    assert_one_line(run_script("--data-dir", "there", **OFFLINE), "there/mnist/train-images-idx3-ubyte.gz")


def test_old_theano_flags_are_answered(run_script):
    assert_one_line(run_script(*SHORT, THEANO_FLAGS="device=gpu0,floatX=float32,lib.cnmem=1"), "device=cuda0")


def test_a_full_disk_ends_in_one_line_and_loses_nothing(finished, run_script, tmp_path):
    """A limit on file sizes stands for the full disk: the checkpoint of the next epoch does not fit."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "checkpoint.npz"):
        shutil.copy(finished[0] / name, folder)
    arrays = files.read_arrays(folder / "checkpoint.npz")
    meta = json.loads(str(arrays["meta"]))
    meta.update(epoch=EPOCHS - 1, history=meta["history"][:-1])
    files.write_arrays(folder / "checkpoint.npz", {**arrays, "meta": np.array(json.dumps(meta))})
    before = (folder / "checkpoint.npz").read_bytes()

    limit = 5 * 2 ** 20
    assert len(before) > limit
    result = subprocess.run(scripts.command("lenet_300_100", "--resume", folder), capture_output=True, text=True,
                            timeout=300, cwd=tmp_path,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert_one_line(result, "free some space", "--resume")
    assert (folder / "checkpoint.npz").read_bytes() == before
