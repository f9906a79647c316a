"""The original repository's logs and weight files; the latter are read without executing the pickle that they are.

A weight file is `numpy.save` of a list of arrays: an object array, which numpy stores as a pickle. The unpickler here
knows the few names that such a file needs, and gives each a stand-in of this module; whatever else it asks for is
refused.
"""

import io
import math
import pickle
import pickletools
import re

import numpy as np

from utils import files
from utils.errors import UserError

__all__ = ["preprocessing", "read_log", "read_final_error", "read_weights", "write_weights"]

#: Bytes of a weight file; more is refused unread.
LARGEST = 2 ** 29
#: What pickles of lists of arrays are made of. Neither sets nor dicts, whose keys would be hashed.
_OPCODES = frozenset((
    "PROTO FRAME MARK STOP GLOBAL STACK_GLOBAL REDUCE BUILD NONE NEWTRUE NEWFALSE INT LONG BININT BININT1 BININT2 "
    "LONG1 STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8 TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE LIST EMPTY_LIST APPEND APPENDS PUT BINPUT LONG_BINPUT MEMOIZE "
    "GET BINGET LONG_BINGET").split())
_MOST_OPCODES = 100_000

COLUMNS = "epo upd lr beta tr_loss tr_nll tr_acc te_loss te_nll te_acc reg rw ard sec".split()


def preprocessing(dataset):
    """How the images of the authors' weights were preprocessed; None where it is the data set's usual way here."""
    return "zca-original" if dataset.startswith("cifar") else None


def read_log(path):
    """The rows of a log of the original repository, in the terms of this project's `history.csv`.

    Parameters
    ----------
    path : str
        the text file: a header, then a row an epoch under the names of its columns

    Returns
    -------
    list of dict
        `epoch`, counted from 1; `test_error_percent`, `train_error_percent`; `learning_rate`, `kl_weight`;
        `sparsity_percent`, a tuple by layer, empty for dense networks; `seconds`

    Raises
    ------
    UserError
        if the file cannot be read or has no such rows.
    """
    columns, rows = COLUMNS, []
    for number, line in enumerate(_lines(path), start=1):
        if line.split()[:2] == COLUMNS[:2]:
            columns = line.split()
        elif re.match(r"\s*\d+/\d+\s", line):
            rows.append(_log_row(line, columns, f"{path}, line {number},"))
            if len(rows[-1]["sparsity_percent"]) != len(rows[0]["sparsity_percent"]):
                raise UserError(f"{path} is damaged: line {number} tells the sparsity of another number of layers than "
                                "the first row; restore it from a copy")
    if not rows:
        raise UserError(f"{path} is not a log of the original repository: it has no rows that begin with an epoch such "
                        "as 000/200")
    return rows


def read_final_error(path):
    """The test error in percent of the last line, `acc`, of a log; None where the run did not come so far.

    It is of the plain test images, at full precision; the rows' `te_acc` has three decimals, and is of shifted and
    mirrored test images where the training images were (dense LeNet-5).

    Raises
    ------
    UserError
        if the file cannot be read.
    """
    for line in reversed(_lines(path)):
        found = re.match(r"\s*acc\s+([0-9]{1,3}(?:\.[0-9]*)?)\s", line + " ")
        if found and float(found.group(1)) <= 100:
            return 100 - float(found.group(1))
    return None


def _lines(path):
    try:
        with open(path, "rb") as file:
            content = file.read(files.LARGEST_TEXT + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > files.LARGEST_TEXT:
        raise UserError(f"{path} is too large to be a log of the original repository")
    return content.decode(errors="replace").splitlines()


def _log_row(line, columns, where):
    cells = [cell.lstrip("'") for cell in re.findall(r"\[[^][]*\]|\S+", line)]
    try:
        row = dict(zip(columns, cells, strict=True))
        ard = tuple(100 * float(share) for share in row["ard"].strip("[]").replace(",", " ").split())
        found = {"epoch": int(row["epo"].partition("/")[0]) + 1, "learning_rate": float(row["lr"]),
                 "kl_weight": float(row["rw"]), "train_error_percent": 100 * (1 - float(row["tr_acc"])),
                 "test_error_percent": 100 * (1 - float(row["te_acc"])), "sparsity_percent": ard,
                 "seconds": float(row["sec"])}
        if not all(map(math.isfinite, (*found["sparsity_percent"], *(
                value for name, value in found.items() if name != "sparsity_percent")))):
            raise ValueError("a value is not finite")
        if not all(0 <= share <= 100 for share in (*ard, found["train_error_percent"], found["test_error_percent"])):
            raise ValueError("a share is not between 0 and 1")
        return found
    except (ValueError, KeyError) as error:
        raise UserError(f"{where} is no row of the original's log ({error})") from None


def write_weights(path, arrays):
    """Writes arrays, in the network's order, as the original repository does.

    Parameters
    ----------
    path : str
    arrays : iterable of numpy array
    """
    arrays = list(arrays)
    values = np.empty(len(arrays), dtype=object)
    values[:] = arrays
    with files.atomic_write(path) as file:
        np.save(file, values, allow_pickle=True)


def read_weights(path):
    """The arrays of a weight file of the original repository, in the network's order.

    Per layer these are W, b and, for SparseVD, log sigma^2; of batch normalization beta, gamma, mean and inv_std.

    Parameters
    ----------
    path : str
        a `.npy` file, written by Python 2 or 3

    Returns
    -------
    list of numpy array

    Raises
    ------
    UserError
        if the file is missing, damaged, not a list of numeric arrays, or asks for anything but arrays.
    """
    try:
        with open(path, "rb") as file:
            # From memory, where no more is read than there is, whatever the file says of its sizes.
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                       (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"version {version} of numpy's format")
        _, _, dtype = read_header(file)
        if not dtype.hasobject:
            raise ValueError("one array of numbers, no list of arrays")
        _check_opcodes(file)
        content = _Unpickler(file, path, len(content)).load()
        arrays = content.value if isinstance(content, _Array) else content
        arrays = [array.value if isinstance(array, _Array) else array for array in arrays]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise ValueError("no list of arrays")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("NaN or infinite numbers")
        return arrays
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is not a weight file of the original repository, or damaged "
                        f"({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None


def _check_opcodes(file):
    """Refuses what lists of arrays do not need, and sizes that are not there; the file stays where it is."""
    start, kept = file.tell(), 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in _OPCODES or number == _MOST_OPCODES:
            raise ValueError(f"{opcode.name} in the pickle")
        # Room is made for as many values as the largest number has; Python counts them from 0 or 1 on.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            kept += 1
            if not 0 <= argument <= kept:
                raise ValueError(f"{opcode.name} {argument} in the pickle")
    file.seek(start)


class _Unpickler(pickle.Unpickler):
    """Of a file of `size` bytes; its numbers may have twice as many: a pickle can use one text any number of times."""

    def __init__(self, file, path, size):
        super().__init__(file, encoding="latin1")  # as Python 2's strings need
        self._path = path
        self._left = 2 * size       # text becomes bytes, and these an array

    def _spend(self, size):
        self._left -= size
        if self._left < 0:
            raise ValueError("more numbers than the file has bytes")

    def _reconstruct(self, kind, shape, typecode):
        return _Array(self._spend)

    def _encode(self, text, encoding):
        self._spend(len(text))
        return _encode(text, encoding)

    def find_class(self, module, name):
        known = {("numpy.core.multiarray", "_reconstruct"): self._reconstruct,
                 ("numpy._core.multiarray", "_reconstruct"): self._reconstruct,
                 ("numpy", "ndarray"): None, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): self._encode}
        if (module, name) not in known:
            raise UserError(f"{self._path} asks for {module}.{name}, which is no array: refused, nothing in it was "
                            "executed")
        return known[module, name]


def _encode(text, encoding):
    """How Python 3 writes bytes into the pickles of Python 2's protocol."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding}")
    return text.encode("latin1")


class _Dtype:
    """Stands for a numpy type: a number's, or "O" for objects."""

    def __init__(self, code, *arguments):
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "O8", "O4", "O"):
            raise ValueError(f"type {code}")
        self.code, self.order = code, "="

    def __setstate__(self, state):
        self.order = state[1] if state[1] in ("<", ">") else "="


class _Array:
    """Stands for an array: `value` is a numpy array, or a list for an array of objects."""

    def __init__(self, spend):
        self._spend = spend

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        if dtype.code.startswith("O"):
            if not isinstance(content, list):
                raise ValueError("no list of arrays")
            self.value = content
            return
        self._spend(len(content))
        content = content.encode("latin1") if isinstance(content, str) else content
        array = np.frombuffer(content, np.dtype(dtype.order + dtype.code))
        self.value = array.reshape(shape, order="F" if fortran else "C").astype(array.dtype.newbyteorder("="))
