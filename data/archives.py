"""Unpacking the files that data sets come in; what is damaged is refused by name."""

import gzip
import io
import struct
import tarfile
import zlib

import numpy as np

from utils.errors import UserError

__all__ = ["gunzip", "untar", "parse_idx"]


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
        if the content breaks off or is damaged.
    """
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{name} is truncated or damaged ({error})") from None


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
    try:
        with tarfile.open(fileobj=io.BytesIO(gunzip(archive, name))) as tar:
            return {member: tar.extractfile(f"{folder}/{member}").read() for member in members}
    # extractfile gives None for what is no file.
    except (tarfile.TarError, KeyError, AttributeError) as error:
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
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"{name} should hold {shape} values and holds {values.size}")
    return values.reshape(shape)
