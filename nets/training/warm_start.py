"""Starting a network from weights that were trained before."""

import os

from lasagne.layers import get_all_layers

from nets.params import named_params
from utils import files, original_format, results, runs
from utils.errors import UserError

__all__ = ["Weights"]


class Weights:
    """Weights to start from.

    Parameters
    ----------
    path : str
        what errors call them: where they lie
    arrays : dict of str to ndarray, or list of ndarray
        by the names of the network's parameters; a list in the order of the original's files
    name, title : str
        what they are the weights of: a method, or "original", "original's file", or "file", "weights on disk"
    recipe : dict or None
        how a run was trained, see :func:`utils.results.recipe`
    """

    def __init__(self, path, arrays, name="file", title="weights on disk", recipe=None):
        self.path = path
        self.name, self.title, self.recipe = name, title, recipe
        self._arrays = arrays

    @classmethod
    def read(cls, path, file="weights.npz"):
        """Weights on disk.

        Parameters
        ----------
        path : str
            the folder of a finished run, an npz file of one, or a `.npy` file of the original repository
        file : str
            which one of a run's folder

        Raises
        ------
        UserError
            if there are none, or the file is damaged.
        """
        if path.endswith(".npy"):
            return cls(path, original_format.read_weights(path), "original", "original's file")
        folder, path = (path, runs.stored(path, file)) if os.path.isdir(path) else (os.path.dirname(path), path)
        arrays = files.read_arrays(path)
        if not runs.is_finished(folder):
            return cls(path, arrays)
        summary = results.read_summary(folder)
        return cls(path, arrays, summary["method"], summary["method_title"], results.recipe(summary))

    @classmethod
    def of(cls, net, name):
        """A network's weights as they are, which errors call `name`."""
        return cls(name, {key: param.get_value() for key, param in named_params(net).items()}, title="weights")

    def copy_to(self, net):
        """Gives the network's parameters their values. What only training needs, such as log sigma^2, may be missing.

        log sigma^2 and log alpha are converted into each other where the network is parameterized by the other one.

        Returns
        -------
        list of str
            the names of the parameters that are missing: all that only training needs, or none

        Raises
        ------
        UserError
            if a layer or a shape differs. The network is then as it was.
        """
        params, noise = named_params(net), named_params(net, training_only=True)
        arrays = self._named(params, noise)
        layers = {layer.name: layer for layer in get_all_layers(net)}
        arrays, converted = _converted(arrays, params)
        has_noise = converted or any(name in noise for name in arrays)
        for name in {**params, **arrays}:
            expected = params[name].get_value(borrow=True).shape if name in params else None
            found = arrays[name].shape if name in arrays else None
            optional = name in noise and (not has_noise or converted)
            if expected != found and not (optional and found is None):
                pruned = (name not in params or name in noise) and name.split(".")[0] in layers
                advice = "; weights_pruned.npz fits any method" if pruned else ""
                raise UserError(f"{self.path} is of another network: {name} is {_shape(found)} there and "
                                f"{_shape(expected)} here{advice}")
        for name, array in arrays.items():
            params[name].set_value(array.astype(params[name].dtype))
        for layer, (kind, array) in converted.items():
            getattr(layers[layer], f"set_{kind}")(array)
        return [] if has_noise else list(noise)

    def remark(self, network, method, dataset, preprocessing):
        """What the user should know of these weights in a network of a method; text that follows other text, or "".

        `dataset`, `preprocessing` : names of what it is trained on; None is the data set's usual preprocessing
        """
        found = ""
        if self.name == "original" and network.name == "vgg-like" and method.name != "sparse-vd":
            found += ("; the authors' dense network rectifies dense1 before its normalization too, this one does not, "
                      "and so begins by other predictions")
        theirs = original_format.preprocessing(dataset)
        if self.name == "original" and theirs and preprocessing != theirs:
            found += f"; they are of images whitened by --preprocessing {theirs}"
        return found

    def _named(self, params, noise):
        if isinstance(self._arrays, dict):
            return self._arrays
        # The original's files have no names: the order tells, with or without log sigma^2.
        without = [name for name in params if name not in noise]
        names = [name.replace(".log_alpha", ".log_sigma2") for name in params]
        # Theirs know no masks.
        known = all(name in without or name.endswith(".log_sigma2") for name in names)
        for candidates in (names, without) if known else (without,):
            if len(candidates) == len(self._arrays):
                return dict(zip(candidates, self._arrays))
        raise UserError(f"{self.path} is of another network: it holds {len(self._arrays)} arrays, this network "
                        f"{len(params)} ({len(without)} without what only training needs)")


def _converted(arrays, params):
    """Without what the network has in the other parameterization; and that, {layer: (name, array)}."""
    other = {"log_sigma2": "log_alpha", "log_alpha": "log_sigma2"}
    left, converted = {}, {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        twin = f"{layer}.{other.get(kind)}"
        if kind in other and name not in params and twin in params and (
                params[twin].get_value(borrow=True).shape == array.shape):
            converted[layer] = kind, array
        else:
            left[name] = array
    return left, converted


def _shape(shape):
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"
