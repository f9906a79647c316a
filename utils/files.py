"""Writing files so that nothing is lost, and reading them without running what is in them or trusting its sizes."""

import contextlib
import errno
import json
import math
import os
import re
import struct
import zipfile
import zlib

import numpy as np

from utils.errors import UserError

try:
    import fcntl
except ImportError:     # Windows, where compressed networks are read, too
    fcntl = None

__all__ = ["FULL", "atomic_write", "locked", "write_json", "write_arrays", "read_text", "read_json", "read_arrays",
           "refuse_unreadable", "writing"]

#: The operating system's numbers for a full disk.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Bytes of a text file; more is refused unread.
LARGEST_TEXT = 2 ** 24
#: Objects and lists of JSON within each other; what Python still reads would be too deep for what goes through it.
_DEEPEST = 50
#: An array's header, as numpy writes it for numbers and text. The type's size follows its letter.
_HEADER = re.compile(rb"\{'descr': '[<|]([biufU])(\d{1,9})', 'fortran_order': (True|False), "
                     rb"'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), \} *\n")
_HEADERS = {(1, 0): "<H", (2, 0): "<I"}
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_DAMAGES = (OSError, ValueError, EOFError, LookupError, RuntimeError, OverflowError, struct.error, zipfile.BadZipFile,
            zlib.error)
# Not the clock's, which may be out of a zip file's range; and the same arrays make the same file.
_TIME = (1980, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def writing(path):
    """Turns an operating system's error while writing `path` into a :class:`UserError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"no room to write {path} ({error.strerror}): free some space and try again") from error
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_write(path):
    """Opens a binary file that takes the place of `path` when the block ends well; otherwise `path` stays as it was.

    A symbolic link stays, and what it leads to is replaced.

    Raises
    ------
    UserError
        if the file system refuses, or there is a folder, device or pipe.
    """
    target = os.path.realpath(path)
    if os.path.lexists(target) and not os.path.isfile(target):
        raise UserError(f"{path} is no regular file, which alone is replaced: name another one")
    part = f"{target}.part"
    with writing(path), locked(part) as file:
        try:
            file.truncate()
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise


def locked(path):
    """Opens a binary file to write to from its start, made if need be; other processes wait until it is closed.

    Where the file system has no locks, they do not.
    """
    while True:
        file = open(path, "wb", opener=_without_truncation)
        if fcntl:
            # Some file systems have no locks.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            # Who had it before may have deleted it, or moved it away.
            if os.path.samefile(path, file.fileno()):
                return file
        file.close()


def _without_truncation(path, flags):
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def write_json(path, value):
    """Writes `value` as indented JSON."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_text(path):
    """A UTF-8 file's text; OSError or ValueError where it is none, or has more than LARGEST_TEXT bytes."""
    with open(path, "rb") as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ValueError(f"it has more than {LARGEST_TEXT:,} bytes")
    return content.decode()


def refuse_unreadable(path, error):
    """`UserError` if `error` is of a file that is there, and that the operating system does not read."""
    # EINVAL is of places before a file's start, which a damaged archive names.
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_json(path):
    """Reads a JSON object; raises UserError where that cannot be."""
    try:
        value = json.loads(read_text(path), parse_constant=_refuse_constant, parse_float=_finite)
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        _refuse_depth([value])
        # Escapes can make text that no file or terminal takes.
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except (OSError, ValueError, RecursionError) as error:
        refuse_unreadable(path, error)
        raise UserError(f"{path} is missing or damaged ({error}); restore it from a copy or delete it") from None


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def _finite(text):
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _refuse_depth(value):
    for _ in range(_DEEPEST):
        value = [inner for outer in value if isinstance(outer, (dict, list))
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]
        if not value:
            return
    raise ValueError(f"more than {_DEEPEST} objects within each other")


def write_arrays(path, arrays):
    """Writes a dict of arrays as npz. Arrays of objects, which need a pickle, are refused with ValueError."""
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _TIME), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_arrays(path):
    """Reads a dict of arrays of finite numbers, or of text, from npz.

    All checksums are verified, no pickle is executed, and no more memory is taken than the file has bytes: it must not
    be compressed, and what headers say of sizes must be what is there. A damaged directory of the archive can hide
    arrays: check that the names are those that you expect.

    Raises
    ------
    UserError
        if the file is missing, truncated, damaged, holds NaN or infinite numbers, or was written otherwise.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if not members:
                raise ValueError("it holds nothing")
            _check_members(members, os.fstat(file.fileno()).st_size)
            return {member.filename.removesuffix(".npy"): _array(member.filename, archive.read(member))
                    for member in members}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except _DAMAGES as error:
        refuse_unreadable(path, error)
        raise UserError(f"{path} is truncated, damaged or not ours ({error}); restore it from a copy or delete "
                        "it") from None


def _check_members(members, size):
    names = [member.filename for member in members]
    if len(set(names)) < len(names) or not all(name.endswith(".npy") and name.isprintable() for name in names):
        raise ValueError("it holds other things than arrays by name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(f"{member.filename} is compressed or encrypted")
        # Members may lie over each other.
        size -= member.file_size
        if member.file_size != member.compress_size or size < 0:
            raise ValueError(f"{member.filename} cannot have {member.file_size:,} bytes")


def _array(name, content):
    """The array in a npy file's content."""
    version = tuple(content[6:8])
    if content[:6] != b"\x93NUMPY" or version not in _HEADERS:
        raise ValueError(f"{name} is no array")
    start = 8 + struct.calcsize(_HEADERS[version])
    length, = struct.unpack(_HEADERS[version], content[8:start])
    header = _HEADER.fullmatch(content[start:start + length])
    if not header:
        raise ValueError(f"{name} is no array of numbers or text")
    kind, size, fortran, lengths = (group.decode() for group in header.groups())
    shape = tuple(int(length) for length in lengths.split(",") if length.strip())
    dtype = np.dtype(f"<{kind}{size}") if int(size) in _SIZES.get(kind, ()) or kind == "U" and int(size) else None
    if dtype is None or len(shape) > 8:
        raise ValueError(f"{name} is no array of numbers or text")
    if math.prod(shape) * dtype.itemsize != len(content) - start - length:
        raise ValueError(f"{name} has {len(content) - start - length:,} bytes, which are not {shape} of {dtype}")
    # bytearray: writable.
    array = np.frombuffer(bytearray(content[start + length:]), dtype).reshape(shape, order="F" if fortran == "True"
                                                                              else "C")
    if kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name.removesuffix('.npy')} holds NaN or infinite numbers")
    if kind == "U" and not _is_text(array):
        raise ValueError(f"{name} holds text that is none")
    return array


def _is_text(array):
    codes = array.reshape(-1).view(np.uint32)
    return not ((codes > 0x10ffff) | (codes >= 0xd800) & (codes < 0xe000)).any()
