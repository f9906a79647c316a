"""A finished run as scripts need it that go on from there: its results, method, network and data.

Only its method and its network need Theano, which is prepared when they are asked for.
"""

import os

import data
from utils import export, results, runs
from utils.compression import LayerSparsity
from utils.errors import UserError
from utils.export.texts import of_run
from utils.tokens import WORD

__all__ = ["FinishedRun"]

#: Networks of texts, and what they are trained on, by the names of `experiments.common.sources.SOURCES`.
_TEXTS = {"char-lstm": "characters", "word-lstm": "words", "text-lstm": "documents"}
#: What their settings must say.
_SETTINGS = {"characters": ("units", "length"), "words": ("units", "length", "batch_size"),
             "documents": ("units", "length", "embedding", "vocabulary")}


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
    task : str or None
        of a run on texts: "characters", "words" or "documents"

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
        self.task = _TEXTS.get(self.summary["network"])
        self.layers = [LayerSparsity(name, weights, self.summary["nonzero"][name])
                       for name, weights in self.summary["weights"].items()]

    def method(self, **changed):
        """The run's method, with its values but for those `changed`; `UserError` if this version has none such."""
        from nets import methods
        try:
            own = {**self.settings["method"], **changed}
            own.pop("initial_threshold", None)      # of before the first step
            return methods.make(**own)
        except ValueError as error:
            raise UserError(f"{self.folder}: {error}") from None

    def dataset(self, data_dir=None, **changed):
        """The images that the run was trained and tested on; `UserError` if it was on a text or documents.

        `changed` : `preprocessing` or `validation`, where it should not be the run's
        """
        self._require_images()
        own = {**self.settings["dataset"], **changed}
        return data.load(own["name"], data_dir, own.get("preprocessing"), *self._variation(own))

    def raw_dataset(self, data_dir=None):
        """The same before preprocessing, a :class:`data.dataset.Raw`."""
        self._require_images()
        own = self.settings["dataset"]
        return data.load_raw(own["name"], data_dir, *self._variation(own))[0]

    def texts(self, data_dir=None):
        """The text or the documents that the run was trained and tested on, as examples, with their `vocabulary`."""
        return self.source.load(self._values, data_dir)

    @property
    def source(self):
        """What it is trained on, as :mod:`experiments.common.sources` has it."""
        import nets  # noqa: F401  prepares Theano
        from experiments.common.sources import SOURCES
        return SOURCES[self.task or "images"]

    @property
    def _values(self):
        own = self.settings["dataset"]
        found = {"vocabulary": None, "part": None, **self.settings, **own, "dataset": own["name"],
                 **self.settings["training"]}
        missing = [name for name in _SETTINGS.get(self.task, ()) if found.get(name) is None]
        if missing:
            raise UserError(f"{os.path.join(self.folder, 'config.json')} does not say {' and '.join(missing)}: restore "
                            "it from a copy, or train the run again")
        return found

    def exported_texts(self, examples, classes=()):
        """The :class:`utils.export.TextNetwork` of a run on texts; `examples` as :meth:`texts` gives them."""
        if self.task == "documents":
            own = dict(pattern=WORD, length=self._values["length"],
                       classes=list(classes or map(str, range(examples.num_classes))))
        else:
            own = dict(pattern=data.TEXTS[examples.id].words.pattern, length=None, classes=[])
        layers, arrays = export.read_layers(self.folder)
        return of_run(layers, arrays, task=self.task, vocabulary=examples.vocabulary, **own)

    def _require_images(self):
        if self.task:
            raise UserError(f"{self.folder} is a run on {self.summary['dataset_title']}: this takes networks of "
                            "images, name a run of one")

    def _variation(self, own):
        seed = self.settings["training"]["seed"] if own.get("random_labels") else None
        return seed, own.get("variant"), own.get("validation")

    def build(self, method, dataset=None, **keywords):
        """The run's network by a method, with weights still to be set.

        `dataset` : images, or a run's :meth:`texts`. Without, a network of images is as its network.json says, or, of
        the first runs, which left none, for the paper's images.
        """
        from nets.architectures import NETWORKS
        if self.summary["network"] not in NETWORKS:
            raise UserError(f"{self.folder} is of a network {self.summary['network']!r} that this version has not")
        if dataset is not None:
            keywords.update(self.source.network(dataset, self._values), input_shape=dataset.train.inputs.shape[1:],
                            num_classes=dataset.num_classes)
        elif not self.task and os.path.exists(os.path.join(self.folder, "network.json")):
            layers = export.described_layers(self.folder)
            keywords.update(input_shape=tuple(layers[0]["shape"]), num_classes=layers[-1]["shape"][0])
        return NETWORKS[self.summary["network"]].build(method, k=self.summary["k"], **keywords)

    def trained(self, dataset=None, **changed):
        """The run's method, but for values `changed`, and its network with the trained weights."""
        from nets.training import warm_start
        method = self.method(**changed)
        net = self.build(method, dataset)
        warm_start.Weights.read(self.folder).copy_to(net)
        return method, net

    def exported(self, data_dir=None, classes=()):
        """The :class:`utils.export.ExportedNetwork`; of older runs too, which left no network.json."""
        path = os.path.join(self.folder, "network.json")
        if os.path.exists(path) and os.path.exists(os.path.join(self.folder, "preprocessing.npz")):
            return export.read_run(self.folder, classes=classes)
        import nets  # noqa: F401  prepares Theano
        from nets import methods
        from nets.describe import describe
        dataset = self.dataset(data_dir)
        layers = describe(self.build(methods.make("dense"), dataset))
        return export.read_run(self.folder, layers, dataset.transform.arrays(), classes)
