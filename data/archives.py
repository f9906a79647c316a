"""Unpacking the files that data sets come in; what is damaged is refused by name."""

import gzip
import io
import math
import struct
import tarfile
import zlib

import numpy as np

from utils.errors import UserError

__all__ = ["gunzip", "untar", "parse_idx"]

#: Bytes that a file may unpack to; CIFAR's archives have 184 million.
LARGEST = 2 ** 28
_MOST_MEMBERS, _MOST_AXES = 1000, 8


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
    # The last of these: headers within headers.
    except (tarfile.TarError, OSError, EOFError, LookupError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{name} does not hold what it should ({error}); delete or replace it") from None


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
