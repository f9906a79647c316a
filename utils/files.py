"""Writing files so that nothing is lost, and reading arrays without running what is in them."""

import contextlib
import errno
import json
import os
import zipfile
import zlib

import numpy as np

from utils.errors import UserError

__all__ = ["atomic_write", "write_json", "write_arrays", "read_json", "read_arrays", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path):
    """Turns an operating system's error while writing `path` into a :class:`UserError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(f"no room to write {path} ({error.strerror}): free some space and try again") from error
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def atomic_write(path):
    """Opens a binary file that takes the place of `path` when the block ends well; otherwise `path` stays as it was.

    Raises
    ------
    UserError
        if the file system refuses.
    """
    part = f"{path}.part"
    with writing(path):
        try:
            with open(part, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise


def write_json(path, value):
    """Writes `value` as indented JSON."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path):
    """Reads a JSON object; raises UserError where that cannot be."""
    try:
        with open(path, "rb") as file:
            value = json.load(file)
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        return value
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); restore it from a copy or delete it") from None


def write_arrays(path, arrays):
    """Writes a dict of arrays as npz. Arrays of objects, which need a pickle, are refused with ValueError."""
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_arrays(path):
    """Reads a dict of arrays from npz, all checksums verified; no pickle is executed.

    A damaged directory of the archive can hide arrays: check that the names are those that you expect.

    Raises
    ------
    UserError
        if the file is missing, truncated, damaged, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"checksum of {damaged} does not match")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
        return arrays
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is truncated, damaged or not ours ({error}); restore it from a copy or delete "
                        "it") from None
