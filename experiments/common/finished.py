"""A finished run as scripts need it that go on from there: its results, method, network and data."""

import os

import data
from nets import methods
from nets.architectures import NETWORKS
from nets.training import warm_start
from utils import results, runs
from utils.compression import LayerSparsity
from utils.errors import UserError

__all__ = ["FinishedRun"]


class FinishedRun:
    """The folder of a finished run.

    Parameters
    ----------
    folder : str

    Attributes
    ----------
    name : str
        the folder's
    summary : dict
        see :func:`utils.results.read_summary`
    settings : dict
        see :func:`utils.runs.read_config`
    title : str
        the network's
    layers : list of :class:`utils.compression.LayerSparsity`

    Raises
    ------
    UserError
        if the folder holds no finished run, or a file of it is damaged.
    """

    def __init__(self, folder):
        if not runs.is_finished(folder):
            raise UserError(f"{folder} is not the folder of a finished run: it has no summary.json")
        self.folder, self.name = folder, os.path.basename(os.path.normpath(folder))
        self.summary = results.read_summary(folder)
        self.settings = runs.read_config(folder)["settings"]
        self.title = self.summary["network_title"]
        self.layers = [LayerSparsity(name, weights, self.summary["nonzero"][name])
                       for name, weights in self.summary["weights"].items()]

    def method(self):
        """The run's method, with its values; `UserError` if this version has none of that name."""
        try:
            return methods.make(**self.settings["method"])
        except ValueError as error:
            raise UserError(f"{self.folder}: {error}") from None

    def dataset(self, data_dir=None):
        """The data that the run was trained and tested on."""
        own = self.settings["dataset"]
        seed = self.settings["training"]["seed"] if own.get("random_labels") else None
        return data.load(own["name"], data_dir, own.get("preprocessing"), seed, own.get("variant"),
                         own.get("validation"))

    def build(self, method, dataset=None, **keywords):
        """The run's network by a method, with weights still to be set; without a data set, for the paper's images."""
        shape = {} if dataset is None else {"input_shape": dataset.train.inputs.shape[1:],
                                            "num_classes": dataset.num_classes}
        return NETWORKS[self.summary["network"]].build(method, k=self.summary["k"], **shape, **keywords)

    def trained(self, dataset=None):
        """The run's method and its network with the trained weights."""
        method = self.method()
        net = self.build(method, dataset)
        warm_start.Weights(self.folder).copy_to(net)
        return method, net
