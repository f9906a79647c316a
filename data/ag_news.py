"""AG News (Zhang et al., 2015) in its two official tables: 120,000 short articles to train on, 7,600 to test.

As the authors of Bayesian compression do, articles are their titles and descriptions in lower case, and the last 5 % of
the shuffled training articles are for validation.
"""

import numpy as np

from data.archives import parse_csv
from data.dataset import Split
from data.download import FileSet, find_or_download
from data.texts import RawDocuments, shuffled
from utils.errors import UserError

__all__ = ["load", "parse"]

FILES = FileSet(
    "ag-news", ("https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/",), (),
    {"train.csv": "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e",
     "test.csv": "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"}, variants=False, trial="made-up")
VALID_SHARE = 0.05
CLASSES = ("World", "Sports", "Business", "Sci/Tech")


def load(data_dir=None):
    """AG News's :class:`data.texts.RawDocuments`, of the four `CLASSES`.

    Raises
    ------
    UserError
        if one of the tables is not to be had, or not what it should be.
    """
    contents = find_or_download(FILES, data_dir)
    (texts, labels), test = (parse(content, name) for name, content in contents.items())
    train, valid = shuffled(texts, labels, (round((1 - VALID_SHARE) * len(labels)),))
    return RawDocuments(train, valid, Split(test[0], np.array(test[1])), num_classes=len(CLASSES))


def parse(content, name):
    """The articles of a table, and the numbers of their classes from 0.

    Parameters
    ----------
    content : bytes
        csv in UTF-8 without a header: number of the class from 1, title, description
    name : str
        for the error's text

    Returns
    -------
    tuple
        a list of str, and a list of int

    Raises
    ------
    UserError
        if it is no such table.
    """
    numbers = {str(number): number - 1 for number in range(1, len(CLASSES) + 1)}
    rows = parse_csv(content, name, 3)
    if not numbers.keys() >= {label for label, _, _ in rows}:
        raise UserError(f"{name} should have a class from 1 to {len(CLASSES)} at the start of each row; delete or "
                        "replace it")
    return [f"{title} {text}".lower() for _, title, text in rows], [numbers[label] for label, _, _ in rows]
