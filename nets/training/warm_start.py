"""Starting a network from weights that were trained before."""

import os

from nets.params import named_params
from utils import files, original_format, runs
from utils.errors import UserError

__all__ = ["Source"]


class Source:
    """Weights on disk.

    Parameters
    ----------
    path : str
        the folder of a finished run, an npz file of one, or a `.npy` file of the original repository

    Attributes
    ----------
    description : str
        what they are the weights of, as it stands in tables: a method's name, or "original's file"

    Raises
    ------
    UserError
        if there are none, or the file is damaged.
    """

    def __init__(self, path):
        self.path = path
        self.description = "weights on disk"
        if path.endswith(".npy"):
            self._arrays = original_format.read_weights(path)
            self.description = "original's file"
            return
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        if os.path.isdir(path):
            self.path = os.path.join(path, "weights.npz")
            if not os.path.exists(self.path):
                raise UserError(f"{path} holds no weights.npz: it is the folder of no finished run")
        self._arrays = files.read_arrays(self.path)
        if runs.is_finished(folder):
            self.description = files.read_json(os.path.join(folder, "summary.json")).get("method", self.description)

    def copy_to(self, net):
        """Gives the network's parameters their values; what it has and dense nets lack, the noise's, may be missing.

        Returns
        -------
        bool
            whether the noise's parameters (log sigma^2, or log alpha) were among the values

        Raises
        ------
        UserError
            if a layer or a shape differs. The network is then as it was.
        """
        params = named_params(net)
        arrays = self._named(params)
        has_noise = any(_is_noise(name) for name in arrays)
        for name in {**params, **arrays}:
            optional = _is_noise(name) and not has_noise
            expected = params[name].get_value(borrow=True).shape if name in params else None
            found = arrays[name].shape if name in arrays else None
            if expected != found and not (optional and found is None):
                advice = ("; a dense network starts from weights_pruned.npz" if _is_noise(name) and not expected
                          else "")
                raise UserError(f"{self.path} is of another network: {name} is {_shape(found)} there and "
                                f"{_shape(expected)} here{advice}")
        for name, array in arrays.items():
            params[name].set_value(array.astype(params[name].dtype))
        return has_noise

    def _named(self, params):
        if isinstance(self._arrays, dict):
            return self._arrays
        # The original's files have no names: the order tells, with or without log sigma^2.
        without = [name for name in params if not _is_noise(name)]
        for names in (list(params), without):
            if len(names) == len(self._arrays):
                return dict(zip(names, self._arrays))
        raise UserError(f"{self.path} is of another network: it holds {len(self._arrays)} arrays, this network "
                        f"{len(params)} ({len(without)} without log sigma^2)")


def _is_noise(name):
    return name.endswith((".log_sigma2", ".log_alpha"))


def _shape(shape):
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"
