"""Weight files as the original repository leaves them, made here from the description of the format."""

import os
import pickle
import struct

import numpy as np
import pytest

from utils import original_format
from utils.errors import UserError


def write(path, content):
    """A .npy file with the header of a list of arrays, and the given pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"
    header += b" " * (-(len(header) + 11) % 16) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
    return str(path)


@pytest.fixture
def arrays(rng):
    return [rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=3).astype(">f8"),
            np.asfortranarray(rng.normal(size=(2, 1, 3, 5))), np.arange(6, dtype="int64").reshape(2, 3)]


def object_array(arrays):
    values = np.empty(len(arrays), dtype=object)
    values[:] = arrays
    return values


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_files_of_every_protocol_are_read(arrays, tmp_path, protocol):
    path = write(tmp_path / "w.npy", pickle.dumps(object_array(arrays), protocol))
    found = original_format.read_weights(path)
    assert len(found) == len(arrays)
    for expected, array in zip(arrays, found):
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, expected)


def test_numpys_own_save_is_read(arrays, tmp_path):
    np.save(tmp_path / "w.npy", object_array(arrays))
    for expected, array in zip(arrays, original_format.read_weights(str(tmp_path / "w.npy"))):
        np.testing.assert_array_equal(array, expected)


def python2_pickle(arrays):
    """Protocol 2 as Python 2 writes it: bytes are short or long strings without an encoding."""
    def string(content):
        return b"T" + struct.pack("<i", len(content)) + content

    def array(shape, code, content):
        shape = b"(" + b"".join(b"K" + bytes([length]) for length in shape) + b"t"
        order, flags = (b"|", b"K\x3f") if code == b"O8" else (b"<", b"K\0")
        dtype = (b"cnumpy\ndtype\n(" + string(code) + b"K\0K\1tR(K\3" + string(order)
                 + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb")
        return (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + string(b"b") + b"tR(K\1" + shape
                + dtype + b"\x89" + content + b"tb")

    items = [array(value.shape, value.dtype.str[1:].encode(), string(value.tobytes())) for value in arrays]
    return b"\x80\x02" + array((len(items),), b"O8", b"](" + b"".join(items) + b"e") + b"."


def test_files_of_python_2_are_read(rng, tmp_path):
    arrays = [rng.normal(size=(4, 3)).astype("<f4"), rng.normal(size=3).astype("<f4"), rng.normal(size=(2, 2, 3, 3))]
    content = python2_pickle(arrays)
    # The description above is right if the real unpickler agrees with it.
    for expected, array in zip(arrays, pickle.loads(content, encoding="latin1")):
        np.testing.assert_array_equal(array, expected)
    for expected, array in zip(arrays, original_format.read_weights(write(tmp_path / "w.npy", content))):
        np.testing.assert_array_equal(array, expected)


class Hostile:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function, arguments, name", [
    (os.system, ("touch executed",), "system"), (eval, ("open('executed', 'w')",), "builtins.eval|__builtin__.eval"),
    (np.load, ("executed",), "numpy"), (pickle.loads, (b"N.",), "loads")])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(arrays, tmp_path, monkeypatch, protocol, function,
                                                            arguments, name):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "w.npy", pickle.dumps(object_array([*arrays, Hostile(function, *arguments)]), protocol))
    with pytest.raises(UserError, match=f"w.npy asks for .*({name}).*nothing in it was executed"):
        original_format.read_weights(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}), pickle.dumps(["text"]),
                                     pickle.dumps(object_array([np.zeros(3), np.zeros(2)]))[:-20]])
def test_a_damaged_or_foreign_pickle_is_refused_by_name(tmp_path, content):
    with pytest.raises(UserError, match="w.npy is not a weight file") as error:
        original_format.read_weights(write(tmp_path / "w.npy", content))
    assert "\n" not in str(error.value)


def test_a_lying_shape_is_refused(tmp_path):
    content = python2_pickle([np.zeros((4, 3), "<f4")]).replace(b"(K\x04K\x03t", b"(K\xffK\xfft")
    with pytest.raises(UserError, match="w.npy is not a weight file"):
        original_format.read_weights(write(tmp_path / "w.npy", content))


def test_one_text_for_many_arrays_is_refused(tmp_path):
    """20 arrays of 8,000 bytes in a file of half as many."""
    array = np.ones((100, 20), "<f4")
    content = python2_pickle([array] * 20)
    text = b"T" + struct.pack("<i", array.nbytes) + array.tobytes()
    first, rest = content.split(text, 1)
    content = first + text + b"q\0" + rest.replace(text, b"h\0")      # kept as 0, taken from there
    assert len(pickle.loads(content, encoding="latin1")) == 20 and len(content) < 12_000
    with pytest.raises(UserError, match="more numbers than the file has bytes"):
        original_format.read_weights(write(tmp_path / "w.npy", content))


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "w.npy", np.zeros(3))
    (tmp_path / "text.npy").write_text("text")
    for name in ("w.npy", "text.npy", "missing.npy"):
        with pytest.raises(UserError, match=name):
            original_format.read_weights(str(tmp_path / name))
