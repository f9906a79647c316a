"""What experiments are trained on: images, texts and documents, each with the flags and the task that go with it."""

from dataclasses import replace

import data
from data.sequences import pieces, streams
from nets.tasks import Classification, NextToken

__all__ = ["SOURCES"]


class Images:
    """`examples` : what they are called; `flags` : names of those that only they have; `choices` : of --dataset."""

    examples = "images"
    flags = frozenset({"k", "preprocessing", "augment", "shift", "random_labels", "validation", "variant", "teacher",
                       "temperature", "teacher_weight"})
    choices = tuple(data.DATASETS)

    def load(self, values, data_dir):
        """The data set that a run's values name; `train`, `test`, and `valid` where it has one of its own."""
        return data.load(values["dataset"], data_dir, values["preprocessing"],
                         values["seed"] if values["random_labels"] else None, values["variant"], values["validation"])

    def network(self, dataset, values):
        """What the network's function is given beside the shape of an example and the number of classes."""
        return {}

    def task(self):
        """See :mod:`nets.tasks`."""
        return Classification()


class _Texts(Images):
    choices = tuple(data.TEXTS)
    flags = frozenset({"units", "part", "vocabulary", "length", "best_epoch"})
    tokens = None

    def load(self, values, data_dir):
        text = data.load_text(values["dataset"], data_dir, self.tokens, values["vocabulary"], values["part"])
        return replace(text, **{name: self.examples_of(getattr(text, name), values)
                                for name in ("train", "valid", "test")})

    def network(self, dataset, values):
        return {"units": values["units"]}

    def task(self):
        return NextToken(words=self.tokens == "words")


class Characters(_Texts):
    """Characters of a text, in pieces that are read each from its beginning."""

    examples, tokens = "pieces", "characters"

    def examples_of(self, tokens, values):
        """A split's examples."""
        return pieces(tokens, values["length"])


class Words(_Texts):
    """Words of a text, in streams that go on from batch to batch."""

    examples, tokens = "pieces", "words"

    def examples_of(self, tokens, values):
        """A split's examples."""
        return streams(tokens, values["batch_size"], values["length"])

    def network(self, dataset, values):
        return {"units": values["units"], "streams": values["batch_size"]}


class Documents(Images):
    """Documents that belong to classes."""

    examples = "documents"
    flags = frozenset({"units", "embedding", "vocabulary", "length", "best_epoch"})
    choices = tuple(data.DOCUMENTS)

    def load(self, values, data_dir):
        return data.load_documents(values["dataset"], data_dir, values["vocabulary"], values["length"])

    def network(self, dataset, values):
        return {"vocabulary": len(dataset.vocabulary), "units": values["units"], "embedding": values["embedding"]}


#: By the name that an experiment has of it.
SOURCES = {"images": Images(), "characters": Characters(), "words": Words(), "documents": Documents()}
