"""experiments/data_sets.py, against the data sets that it shows."""

import subprocess
import sys

import numpy as np
import pytest

import data
import scripts
from experiments import data_sets
from utils.errors import UserError


@pytest.fixture
def shown(monkeypatch, capsys):
    """shown(*flags) -> what the script prints."""
    def shown(*flags):
        monkeypatch.setattr(sys, "argv", ["data_sets.py", *map(str, flags)])
        data_sets.main()
        return capsys.readouterr().out
    return shown


def rows(output):
    """{split: its cells} of each table, one after the other."""
    found = [line.split() for line in output.splitlines()]
    return [(cells[0], cells[1:]) for cells in found if cells and cells[0] in ("train", "valid", "test")]


def test_all_names_are_listed(shown):
    words = shown().replace(",", " ").split()
    assert set(words) > {*data.DATASETS, *data.TEXTS, *data.DOCUMENTS}


def test_a_text_is_counted(shown):
    found = data.load_text("made-up", tokens="words", part=0.5)
    output = shown("made-up", "--tokens", "words", "--part", 0.5)
    assert "Text: made-up (words, a half)\n" in output and f"fingerprint {found.fingerprint}" in output
    (_, train), _, (_, test) = rows(output)[:3]
    # The words cost what an arithmetic coder with their frequencies needs.
    frequencies = np.bincount(found.train, minlength=len(found.vocabulary)) / len(found.train)
    assert float(test[1]) == pytest.approx(-np.log2(frequencies[found.test]).mean(), abs=0.01)
    assert (train[0], test[0]) == (f"{len(found.train):,}", f"{len(found.test):,}") and train[2] == test[2] == "0.00"
    assert "the man has a real lantern and lends the net . <eos> the nurse" in output


def test_documents_are_counted(shown):
    found = data.load_documents("made-up", vocabulary=20, length=12)
    output = shown("made-up", "--vocabulary", 20, "--length", 12)
    assert "Documents: made-up (vocabulary 20, 12 tokens)\n" in output and f"fingerprint {found.fingerprint}" in output
    assert f"{len(found.vocabulary)} tokens, most frequent: 'baba'" in output
    name, (count, first, second, median, unknown) = rows(output)[-1]
    assert (name, count, first, second, median) == ("test", "200", "100,", "100", "12")
    tokens = found.test.inputs[found.test.inputs > 0]
    assert float(unknown) == pytest.approx(100 * (tokens == 2).mean(), abs=0.006) and float(unknown) > 5


def test_images_are_counted(shown):
    output = shown("digits-8x8")
    (_, train), (_, test) = rows(output)
    assert train[:2] == ["1,442", "1x8x8"] and test[0] == "355" and len(test) == 12
    # As in the config.json of runs.
    assert f"fingerprint {data.load('digits-8x8').fingerprint}" in output


@pytest.mark.parametrize("flags, text", [
    (["imagenet"], "there is no data set 'imagenet'.* lists all"),
    (["made-up", "--part", "1.5"], "at most 1, not 1.5")])
def test_what_there_is_not_is_refused(shown, flags, text):
    with pytest.raises(UserError, match=text):
        shown(*flags)


def test_what_is_missing_is_one_line(tmp_path):
    # Without Theano, it starts faster on its own than `scripts.run` does.
    result = subprocess.run(scripts.command("data_sets", "ptb", "--data-dir", "."), cwd=tmp_path, timeout=600,
                            capture_output=True, text=True)
    assert result.returncode == 1 and "belongs to the LDC" in result.stderr and not result.stdout
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
