"""A few damaged files for each reader; tests/fuzz.py tries any number of them."""

import io
import os
import random
import time
import zipfile
from unittest import mock

import numpy as np
import pytest

import fuzz
import samples
from nets import methods
from utils import files, results
from utils.errors import UserError
from utils.export import read_run


@pytest.mark.parametrize("name", fuzz.offered())
def test_damaged_files_are_read_or_refused_by_one_line(name):
    # Seconds are for those who run tests/fuzz.py: here other programs may have the cores.
    found = fuzz.run(name, range(60))._replace(seconds=0)
    assert fuzz.holds(found), found
    assert found.refused > 5


def test_the_samples_are_read(tmp_path):
    for name in fuzz.offered():
        reader = fuzz.READERS[name]
        reader.make(str(tmp_path / name / "run"))
        reader.read(os.path.join(tmp_path, name, "run", reader.place))


@pytest.mark.parametrize("name", fuzz.offered())
def test_the_damage_of_a_number_is_always_the_same(name, tmp_path, monkeypatch):
    reader, found = fuzz.READERS[name], []
    for seconds in (1e9, 1.5e9):
        monkeypatch.setattr("time.time", lambda: seconds)
        reader.make(str(tmp_path / str(seconds)))
        content = fuzz.content_of(tmp_path / str(seconds) / reader.place)
        found.append([content, *(reader.damage(content, random.Random(number)) for number in range(20))])
    assert found[0] == found[1]


def test_what_fuzzing_looks_for_is_found(monkeypatch):
    """A reader that breaks, runs a command, takes memory or takes long does not pass."""
    def traceback(path):
        if len(fuzz.content_of(path)) < 10:
            raise KeyError("x")

    def executes(path):
        if len(fuzz.content_of(path)) < 10:
            os.system("true")

    def takes_memory(path):
        if len(fuzz.content_of(path)) < 10:
            memory = bytearray(2 ** 26)
            memory[::4096] = b"x" * (len(memory) // 4096)
            raise UserError("refused")

    def takes_long(path):
        end = time.process_time() + 0.2
        while len(fuzz.content_of(path)) < 10 and time.process_time() < end:
            pass

    for read, field, limit in ((traceback, "tracebacks", {}), (executes, "executed", {}),
                               (takes_memory, "mebibytes", {"MOST_MIB": 32}),
                               (takes_long, "seconds", {"MOST_SECONDS": 0.1})):
        monkeypatch.setitem(fuzz.READERS, "x", fuzz.Reader("x", fuzz.write("x", b"0123456789"), read,
                                                           lambda content, rng: content[:5]))
        found = fuzz.run("x", range(2))
        with mock.patch.multiple(fuzz, **{"MOST_MIB": fuzz.MOST_MIB, **limit}):
            assert not fuzz.holds(found)
            assert fuzz.holds(found._replace(**{field: [] if field in ("tracebacks", "executed") else 0})), found


# Sizes


def npz(name, header, content=b"", version=b"\1\0"):
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    size = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"\x93NUMPY" + version + size + header + content)
    return file.getvalue()


@pytest.mark.parametrize("header, text", [
    (b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", "12 bytes, which are not"),
    (b"{'descr': '<U-5', 'fortran_order': False, 'shape': (), }", "no array of numbers or text"),
    (b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "no array of numbers or text"),
    (b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').system('true'),), }", "no array of numbers"),
    (b"{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999,), }", "no array of numbers or text")])
def test_headers_are_checked_against_what_follows(tmp_path, header, text):
    (tmp_path / "x.npz").write_bytes(npz("a.npy", header, bytes(12)))
    with pytest.raises(UserError, match=f"x.npz is truncated, damaged or not ours .*{text}"):
        files.read_arrays(tmp_path / "x.npz")


def test_numpys_own_files_are_read(tmp_path, rng):
    arrays = {"a": np.asfortranarray(rng.normal(size=(3, 4))), "b": rng.normal(size=0), "c": np.array("ä\U0001F600"),
              "d": np.arange(3, dtype="uint8"), "e": np.array(True), "f": rng.normal(size=(2, 3, 1)).astype("float16")}
    np.savez(tmp_path / "x.npz", **arrays)
    for name, array in files.read_arrays(tmp_path / "x.npz").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype and array.flags.writeable


def test_a_bomb_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10 ** 7))
    with pytest.raises(UserError, match="a.npy is compressed"):
        files.read_arrays(tmp_path / "x.npz")


def test_members_that_lie_over_each_other_are_refused(tmp_path):
    """Each is as large as the file, and all of them together are as many times larger."""
    content = npz("a.npy", b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000,), }", bytes(1000))
    end = content.rindex(b"PK\5\6")
    directory = content[content.rindex(b"PK\1\2"):end]
    entries = [directory.replace(b"a.npy", b"%c.npy" % (97 + number)) for number in range(20)]
    # The name stands beside the data too, but Python compares it only when the member is read.
    trailer = bytearray(content[end:])
    trailer[8:12] = (20).to_bytes(2, "little") * 2
    trailer[12:16] = len(b"".join(entries)).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(content[:content.rindex(b"PK\1\2")] + b"".join(entries) + trailer)
    with pytest.raises(UserError, match="cannot have 1,"):
        files.read_arrays(tmp_path / "x.npz")


# NaN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weights_pruned.npz", "preprocessing.npz"])
def test_weights_that_are_not_finite_are_refused(tmp_path, name, value):
    samples.write_run(tmp_path / "run")
    arrays = files.read_arrays(tmp_path / "run" / name)
    first = next(iter(arrays))
    arrays[first].flat[3] = value
    files.write_arrays(tmp_path / "run" / name, arrays)
    with pytest.raises(UserError, match=f"{name} is .*{first} holds NaN or infinite numbers"):
        read_run(str(tmp_path / "run"))


# What is in the files of a run


def test_a_file_of_a_later_format_is_named(tmp_path):
    samples.write_run(tmp_path / "run")
    files.write_json(tmp_path / "run" / "summary.json", {**samples.SUMMARY, "format": 3})
    with pytest.raises(UserError, match="is of format 3, and this version .* reads formats up to 2"):
        results.read_summary(str(tmp_path / "run"))


@pytest.mark.parametrize("values", [{"threshold": "high"}, {"threshold": True}, {"kl": "mine"}, {"kl_warm_up": 1},
                                    {"warm_up": 3}, {"warm_up": {"schedule": "LinearWarmUp", "begin": "x"}},
                                    {"kl_weight": -1.0}, {"threshold": [3.0]}, {"threshold": None}])
def test_a_methods_values_from_a_file_are_of_their_kind(values):
    with pytest.raises(ValueError):
        methods.make("sparse-vd", **values)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_methods_own_values_are(name):
    described = methods.described(methods.make(name))
    assert methods.described(methods.make(**described)) == described
