import concurrent.futures
import errno
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest

from utils import files, results
from utils.errors import UserError


@pytest.fixture
def arrays(rng):
    return {"a/b": rng.normal(size=(30, 4)), "c": np.arange(5, dtype="int32"), "d": np.array("text"),
            "e": np.float32(2)}


def test_arrays_survive(tmp_path, arrays):
    files.write_arrays(tmp_path / "x.npz", arrays)
    found = files.read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.asarray(array).dtype
    assert os.listdir(tmp_path) == ["x.npz"]


def test_every_truncation_and_many_flipped_bytes_are_noticed(tmp_path, arrays):
    path = tmp_path / "x.npz"
    files.write_arrays(path, arrays)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="x.npz"):
            files.read_arrays(path)
    unnoticed = 0
    for position in range(0, len(content), 13):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        path.write_bytes(bytes(flipped))
        try:
            found = files.read_arrays(path)
        except UserError:
            continue
        # A flipped time stamp in the archive's directory changes no array; a flipped count can hide one.
        unnoticed += 1
        assert all(np.array_equal(found[name], arrays[name]) for name in found)
    assert unnoticed < len(content) / 13 / 4


def test_an_error_is_of_the_file_and_not_of_what_it_was_read_for(tmp_path):
    """The same function reads checkpoints, weights to start from, and the whitening's cache."""
    (tmp_path / "x.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="restore it from a copy or delete it$") as error:
        files.read_arrays(tmp_path / "x.npz")
    assert "--" not in str(error.value)


class Hostile:
    executed = False

    def __reduce__(self):
        return (setattr, (Hostile, "executed", True))


def test_no_pickle_is_executed(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, param=np.array([Hostile()], dtype=object))
    Hostile.executed = False
    with pytest.raises(UserError):
        files.read_arrays(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError):
        files.read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("param.npy", pickle.dumps(Hostile()))
    with pytest.raises(UserError):
        files.read_arrays(path)
    assert not Hostile.executed


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError):
        files.write_arrays(tmp_path / "x.npz", {"a": np.array([object()])})
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, arrays):
    path = tmp_path / "x.npz"
    files.write_arrays(path, arrays)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UserError, match="free some space"):
            files.write_arrays(path, {"big": np.zeros(100000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(files.read_arrays(path)) == sorted(arrays)
    assert os.listdir(tmp_path) == ["x.npz"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt):
        with files.atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt
    assert files.read_json(path) == {"a": 1} and os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, make):
    path = tmp_path / "x.json"
    make(path)
    before = os.lstat(path)
    with pytest.raises(UserError, match="x.json is no regular file"):
        files.write_json(path, {"a": 1})
    assert os.lstat(path) == before and os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path, there):
    (tmp_path / "to").mkdir()
    if there:
        files.write_json(tmp_path / "to" / "y.json", {"a": 1})
    os.symlink(os.path.join("to", "y.json"), tmp_path / "x.json")
    files.write_json(tmp_path / "x.json", {"a": 2})
    assert os.path.islink(tmp_path / "x.json") and files.read_json(tmp_path / "to" / "y.json") == {"a": 2}
    assert sorted(os.listdir(tmp_path)) == ["to", "x.json"] and os.listdir(tmp_path / "to") == ["y.json"]


def test_a_writer_waits_for_another_one_of_the_same_file(tmp_path):
    path = tmp_path / "x.json"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with files.atomic_write(path) as first:
            first.write(b'{"of": ')
            first.flush()
            second = pool.submit(files.write_json, path, {"of": 2})
            with pytest.raises(concurrent.futures.TimeoutError):
                second.result(0.2)
            first.write(b"1}")
        second.result()
    assert files.read_json(path) == {"of": 2} and os.listdir(tmp_path) == ["x.json"]


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.write_json(tmp_path / "x.json", {"a": 1})
    assert files.read_json(tmp_path / "x.json") == {"a": 1}


def test_an_archive_of_nothing_is_refused(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {})
    with pytest.raises(UserError, match="x.npz .*holds nothing"):
        files.read_arrays(tmp_path / "x.npz")


def test_the_clock_does_not_matter(tmp_path, arrays, monkeypatch):
    """It may stand at 1970, before the first year of a zip file; and the same arrays are the same file."""
    files.write_arrays(tmp_path / "x.npz", arrays)
    for seconds in (0.0, 1e10):
        monkeypatch.setattr("time.time", lambda: seconds)
        files.write_arrays(tmp_path / "y.npz", arrays)
        assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "x.npz").read_bytes()


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "", '{"a": NaN}', "[" * 100_000, '{"a": "\\ud800"}',
                                  '{"a": ' + "9" * 5000 + "}", '{"a": 1e999}', '{"a": ' + "[" * 60 + "]" * 60 + "}",
                                  " " * (files.LARGEST_TEXT + 1)])
def test_damaged_json_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="x.json"):
        files.read_json(tmp_path / "x.json")


@pytest.mark.parametrize("read, name", [(files.read_json, "x.json"), (files.read_arrays, "x.npz"),
                                        (lambda path: results.history(os.path.dirname(path)), "history.csv")])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EISDIR])
def test_what_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, read, name, number):
    path = tmp_path / name
    if number == errno.EISDIR:
        path.mkdir()
    else:
        def refuse(*arguments):
            raise OSError(number, os.strerror(number))
        monkeypatch.setattr(files, "open", refuse, raising=False)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == f"cannot read {path}: {os.strerror(number)}"
