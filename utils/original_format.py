"""The original repository's weight files, read without executing the pickle that they are.

Such a file is `numpy.save` of a list of arrays: an object array, which numpy stores as a pickle. The unpickler here
knows three names, and gives each a stand-in of this module; whatever else a file asks for is refused.
"""

import pickle

import numpy as np

from utils.errors import UserError

__all__ = ["read_weights"]


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
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                           (2, 0): np.lib.format.read_array_header_2_0}.get(version)
            if read_header is None:
                raise ValueError(f"version {version} of numpy's format")
            _, _, dtype = read_header(file)
            if not dtype.hasobject:
                raise ValueError("one array of numbers, no list of arrays")
            content = _Unpickler(file, path).load()
        arrays = content.value if isinstance(content, _Array) else content
        arrays = [array.value if isinstance(array, _Array) else array for array in arrays]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise ValueError("no list of arrays")
        return arrays
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} is not a weight file of the original repository, or damaged "
                        f"({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, path):
        super().__init__(file, encoding="latin1")  # as Python 2's strings need
        self._path = path

    def find_class(self, module, name):
        known = {("numpy.core.multiarray", "_reconstruct"): _reconstruct,
                 ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
                 ("numpy", "ndarray"): None, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _encode}
        if (module, name) not in known:
            raise UserError(f"{self._path} asks for {module}.{name}, which is no array: refused, nothing in it was "
                            "executed")
        return known[module, name]


def _reconstruct(kind, shape, typecode):
    return _Array()


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

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        if dtype.code.startswith("O"):
            self.value = list(content)
            return
        content = content.encode("latin1") if isinstance(content, str) else content
        array = np.frombuffer(content, np.dtype(dtype.order + dtype.code))
        self.value = array.reshape(shape, order="F" if fortran else "C").astype(array.dtype.newbyteorder("="))
