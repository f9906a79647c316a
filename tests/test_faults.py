"""Disks that fill up, folders that cannot be written, clocks that jump: one line, the last checkpoint intact."""

import errno
import os
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

import data
import samples
import scripts
from data.dataset import Split
from experiments.common import cli, experiment
from experiments.lenet_300_100 import EXPERIMENT
from utils import files, plots, runs
from utils.errors import UserError


@pytest.fixture
def train(compiled, digits, tmp_path, monkeypatch):
    """train(folder, *flags): a run of two epochs of a few images, as the script does it but compiled before.

    Returns the weights. The pictures of curves, whose drawing takes long, are a few bytes.
    """
    first = compiled.state()
    few = replace(digits, train=Split(digits.train.inputs[:200], digits.train.targets[:200]),
                  test=Split(digits.test.inputs[:50], digits.test.targets[:50]))

    def picture(history, path, **keywords):
        with files.atomic_write(path) as file:
            file.write(b"picture")
    monkeypatch.setattr(data, "load", lambda *arguments: few)
    monkeypatch.setattr(experiment, "Trainer", lambda *arguments, **keywords: compiled)
    monkeypatch.setattr(plots, "draw_curves", picture)
    monkeypatch.chdir(tmp_path)

    def train(folder, *flags):
        compiled.set_state(first, "the test's start")
        flags = ["--dataset", "digits", "--epochs", "2", "--output", folder, *flags]
        run, _ = experiment.run(cli.parse(EXPERIMENT, "", flags))
        return files.read_arrays(run.path("weights.npz"))
    yield train
    compiled.set_state(first, "the test's start")


def assert_same_bits(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


class Disk:
    """Counts writes to a run's files; the one of the number `full` writes half of its bytes, and fails."""

    def __init__(self, monkeypatch):
        self.writes, self.full, self.name = 0, None, None
        monkeypatch.setattr(files, "open", self._open, raising=False)
        monkeypatch.setattr(runs, "open", self._open, raising=False)

    def _open(self, path, mode="r", *arguments, **keywords):
        file = open(path, mode, *arguments, **keywords)
        if "w" in mode or "a" in mode:
            return _OnDisk(file, self, path)
        return file


class _OnDisk:
    def __init__(self, file, disk, path):
        self._file, self._disk, self._path = file, disk, path
        self._counted = False

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, content):
        # Once for each file; for the log, which stays open, once a line.
        if not self._counted or self._path.endswith("log.txt"):
            self._counted = True
            self._disk.writes += 1
            if self._disk.writes - 1 == self._disk.full:
                self._disk.name = os.path.basename(self._path)
                self._file.write(content[:len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)


def test_a_disk_that_is_full_at_any_write_loses_nothing(train, monkeypatch, capsys):
    disk = Disk(monkeypatch)
    expected = train("whole")
    count, names = disk.writes, set()
    for number in range(count):
        folder = f"full-{number}"
        disk.writes, disk.full = 0, number
        with pytest.raises(UserError, match="no room to write .*free some space") as error:
            train(folder)
        assert disk.name.removesuffix(".part") in str(error.value)
        names.add(disk.name)
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]
        disk.full = None
        if runs.has_checkpoint(folder):
            assert "meta" in files.read_arrays(os.path.join(folder, "checkpoint.npz"))
            assert "--resume" in str(error.value) or disk.name not in ("checkpoint.npz.part", "weights.npz.part")
        assert_same_bits(train(folder, "--resume"), expected)
    assert names == {"config.json.part", "log.txt", "checkpoint.npz.part", "history.csv.part", "curves.png.part",
                     "weights.npz.part", "weights_pruned.npz.part", "preprocessing.npz.part", "network.json.part",
                     "summary.json.part"}


def test_a_clock_that_jumps_changes_nothing(train, monkeypatch):
    expected = train("whole")
    clock = iter(np.random.default_rng(1).choice([0.0, 1.0, 1e9, 1e10], 10_000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    assert_same_bits(train("jumping"), expected)


def test_a_folder_that_cannot_be_written_is_named(train, tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    # Nothing is read-only to root, but for what is no disk.
    folder = "/proc/self" if os.access(folder, os.W_OK) else str(folder)
    with pytest.raises(UserError, match=f"cannot write {folder}/run: "):
        train(f"{folder}/run")


def test_a_run_begun_by_another_process_in_between_is_not_overwritten(tmp_path, monkeypatch):
    """Both found the folder empty; the other one was faster, and is finished."""
    flock = runs.fcntl.flock

    def other_was_faster(file, operation):
        monkeypatch.setattr(runs.fcntl, "flock", flock)
        files.write_json(tmp_path / "config.json", samples.CONFIG)
        flock(file, operation)
    monkeypatch.setattr(runs.fcntl, "flock", other_was_faster)
    with pytest.raises(UserError, match="holds a run already"):
        runs.Run(str(tmp_path), samples.CONFIG)
    assert files.read_json(tmp_path / "config.json") == samples.CONFIG


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not Linux")
def test_output_to_a_full_disk_ends_in_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(scripts.command("paper_tables", "--results", tmp_path), stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "no room for the output (No space left on device): free some space" in done.stderr
