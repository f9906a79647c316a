"""Data sets: `load` finds, downloads, checks and prepares one by its name."""

from data import digits, mnist
from data.dataset import Dataset
from utils.errors import UserError

__all__ = ["load", "names", "Dataset"]

_LOADERS = {"digits": digits.load, "mnist": mnist.load_mnist, "fashion-mnist": mnist.load_fashion_mnist}

#: The names that `load` knows.
names = tuple(_LOADERS)
#: How images can be prepared.
preprocessings = ("mean-image", "zca")


def load(name, data_dir=None):
    """Loads a data set, downloading it if it is on disk nowhere.

    Parameters
    ----------
    name : str
        one of `names`
    data_dir : str or None
        the folder that holds the data sets' folders; None is the environment variable SPARSEVD_DATA, or
        `data/downloads` in the project

    Returns
    -------
    :class:`data.dataset.Dataset`

    Raises
    ------
    UserError
        if there is no such data set, or its files are neither on disk nor to be downloaded, or not genuine.
    """
    if name not in _LOADERS:
        raise UserError(f"there is no data set {name!r}; choose one of {', '.join(names)}")
    return _LOADERS[name](data_dir)
