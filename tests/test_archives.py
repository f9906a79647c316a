import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from data import archives
from utils.errors import UserError


def idx(array):
    """An array of bytes in idx format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def tar(folder, contents, mode="w:gz"):
    """A tar archive of files in one folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_what_is_packed_is_unpacked_and_what_is_not_stays():
    assert archives.gunzip(gzip.compress(b"content"), "x") == b"content" == archives.gunzip(b"content", "x")


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed[:12], lambda packed: packed[:2],
                                    lambda packed: packed[:15] + bytes([packed[15] ^ 0x55]) + packed[16:]])
def test_a_damaged_gzip_file_is_refused_by_name(rng, damage):
    with pytest.raises(UserError, match="some-file is truncated or damaged"):
        archives.gunzip(damage(gzip.compress(rng.bytes(300))), "some-file")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_are_taken_out_of_a_folder_of_an_archive(mode):
    packed = tar("folder", {"a": b"1", "b": b"22", "c": b"333"}, mode)
    assert archives.untar(packed, "folder", ("c", "a"), "x") == {"c": b"333", "a": b"1"}


@pytest.mark.parametrize("packed", [b"", b"\x1f\x8b\x08", b"no archive" * 100, tar("elsewhere", {"a": b"1"}),
                                    tar("folder", {"b": b"1"}), tar("folder", {"a/b": b"1"})],
                         ids=["empty", "cut", "none", "other folder", "other file", "deeper"])
def test_an_archive_without_the_files_is_refused_by_name(packed):
    with pytest.raises(UserError, match="some-file"):
        archives.untar(packed, "folder", ("a",), "some-file")


def test_a_folder_in_a_files_place_is_refused():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("folder/a")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    with pytest.raises(UserError, match="some-file does not hold"):
        archives.untar(file.getvalue(), "folder", ("a",), "some-file")


@pytest.mark.parametrize("shape", [(5,), (7, 4, 4), (0, 3)])
def test_idx_files_are_read(rng, shape):
    array = rng.randint(0, 256, shape).astype("uint8")
    found = archives.parse_idx(idx(array), "x")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01" + b"\0" * 8, b"\0\0\x08\x03\0\0\0\x01",
                                     idx(np.zeros((3, 2), "uint8"))[:-1], idx(np.zeros(3, "uint8")) + b"\0",
                                     b"\0\0\x08\x02" + b"\xff" * 8])
def test_what_is_not_an_idx_file_is_refused_by_name(content):
    with pytest.raises(UserError, match="some-file"):
        archives.parse_idx(content, "some-file")


def test_what_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 1000)
    assert archives.gunzip(gzip.compress(bytes(1000)), "x") == bytes(1000)
    with pytest.raises(UserError, match="x unpacks to more than 1,000 bytes"):
        archives.gunzip(gzip.compress(bytes(1001)), "x")
