"""IMDB's film reviews (Maas et al., 2011) in their official archive: 25,000 to train on, 25,000 to test.

As the authors of Bayesian compression do, the last 15 % of the shuffled training reviews are for validation.
"""

import numpy as np

from data.archives import untar_matching
from data.dataset import Split
from data.download import FileSet, find_or_download
from data.texts import RawDocuments, shuffled
from utils.errors import UserError

__all__ = ["load"]

ARCHIVE = FileSet("imdb", ("https://ai.stanford.edu/~amaas/data/sentiment/",), (), {
    "aclImdb_v1.tar.gz": "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"},
    variants=False, trial="made-up")
VALID_SHARE = 0.15
CLASSES = ("neg", "pos")
_REVIEW = r"aclImdb/(train|test)/(neg|pos)/\d+_\d+\.txt"


def load(data_dir=None):
    """IMDB's :class:`data.texts.RawDocuments`: class 1 likes the film, 0 does not.

    Raises
    ------
    UserError
        if the archive is not to be had, or not what it should be.
    """
    (name, archive), = find_or_download(ARCHIVE, data_dir).items()
    found = untar_matching(archive, _REVIEW, name)
    texts, labels = {"train": [], "test": []}, {"train": [], "test": []}
    # Sorted: the order does not depend on the archive's.
    for path in sorted(found):
        _, part, kind, _ = path.split("/")
        try:
            texts[part].append(found[path].decode())
        except UnicodeDecodeError as error:
            raise UserError(f"{path} in {name} is no text in UTF-8 ({error})") from None
        labels[part].append(CLASSES.index(kind))
    cut = round((1 - VALID_SHARE) * len(labels["train"]))
    train, valid = shuffled(texts["train"], labels["train"], (cut,))
    return RawDocuments(train, valid, Split(texts["test"], np.array(labels["test"])), num_classes=len(CLASSES))
