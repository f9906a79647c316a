"""A finished run as the teacher of another one."""

from dataclasses import replace

import nets  # noqa: F401  prepares Theano

import numpy as np
import theano
import theano.tensor as T
from lasagne.layers import get_output

from data.dataset import Split
from experiments.common.finished import FinishedRun
from nets import methods
from nets.tasks import Distillation
from nets.training.trainer import EVALUATION_BATCH
from nets.training.warm_start import Weights
from utils.errors import UserError

__all__ = ["Teacher"]


class Teacher:
    """The pruned network of a finished run on the same images, of whatever network and method.

    Parameters
    ----------
    folder : str
        the run's
    temperature, weight : float
        see :class:`nets.tasks.Distillation`

    Attributes
    ----------
    title : str
        network and method, for tables
    lesson : :class:`nets.tasks.Distillation`

    Raises
    ------
    UserError
        if the folder holds no finished run, or not its weights.
    """

    def __init__(self, folder, temperature, weight):
        self.run = FinishedRun(folder)
        self.title = f"{self.run.title}, {self.run.summary['method_title']}"
        self.lesson = Distillation(temperature, weight)
        self._weights = Weights.read(folder, "weights_pruned.npz")

    def require_same(self, dataset):
        """`UserError` if the teacher learned from other images or labels."""
        if self.run.settings["dataset"].get("fingerprint") != dataset.fingerprint:
            raise UserError(f"{self.run.folder} was trained on other images than {dataset.name}: a teacher has the "
                            "same --dataset, --validation and labels")

    def taught(self, dataset, data_dir=None):
        """The data set, the teacher's own, with training targets as the lesson takes them."""
        own = self.run.dataset(data_dir)
        net = self.run.build(methods.make("dense"), own)
        self._weights.copy_to(net)
        inputs = T.TensorType(theano.config.floatX, (False,) * own.train.inputs.ndim)("inputs")
        output = get_output(net, inputs, deterministic=True)
        predict = theano.function([inputs], T.log(T.maximum(output, np.finfo(output.dtype).tiny)))
        logs = [predict(own.train.inputs[start:start + EVALUATION_BATCH])
                for start in range(0, len(own.train), EVALUATION_BATCH)]
        targets = np.column_stack([dataset.train.targets, np.concatenate(logs)]).astype(theano.config.floatX)
        return replace(dataset, train=Split(dataset.train.inputs, targets))
