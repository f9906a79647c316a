import re
from collections import Counter

import numpy as np
import pytest

import data
from data import made_up, texts
from data.dataset import Split
from data.texts import Documents, LineWords, RawDocuments, RawText, Text
from utils.errors import UserError
from utils.tokens import SPECIAL

RAW = RawText("the cat\nthe dog\na cat\n", "a cow\n", "the cat\n")


def text(raw=RAW, **keywords):
    return Text.of(raw, LineWords(), id="tiny", name="tiny", **keywords)


def raw_documents(*train, valid=("a",), test=("a",)):
    return RawDocuments(*(Split(list(split), np.arange(len(split)) % 2) for split in (train, valid, test)),
                        num_classes=2)


def documents(*train, vocabulary=None, length=6, **splits):
    return Documents.of(raw_documents(*train, **splits), vocabulary, length, id="tiny", name="tiny")


def decoded(vocabulary, ids, between=""):
    return between.join(vocabulary[number] for number in ids)


# Texts


def test_characters_are_numbered_by_falling_count_and_read_back():
    found = text()
    counts = Counter(RAW.train)
    assert list(found.vocabulary[:-1]) == sorted(counts, key=lambda sign: (-counts[sign], sign))
    assert found.vocabulary[-1] == "<unk>"      # "w" is in the validation text alone
    assert decoded(found.vocabulary, found.train) == RAW.train and decoded(found.vocabulary, found.test) == RAW.test
    assert decoded(found.vocabulary, found.valid) == "a co<unk>\n"
    assert all(ids.dtype == np.int32 for ids in (found.train, found.valid, found.test))
    assert (found.id, found.name) == ("tiny", "tiny")


def test_words_end_their_lines():
    found = text(tokens="words")
    assert decoded(found.vocabulary, found.train, " ") == "the cat <eos> the dog <eos> a cat <eos>"
    assert decoded(found.vocabulary, found.valid, " ") == "a <unk> <eos>"
    assert found.vocabulary == ("<eos>", "cat", "the", "a", "dog", "<unk>") and found.name == "tiny (words)"


def test_rarer_tokens_become_unknown():
    found = text(tokens="words", vocabulary=3)
    assert found.vocabulary == ("<eos>", "cat", "the", "<unk>") and found.name == "tiny (words, vocabulary 3)"
    assert decoded(found.vocabulary, found.train, " ") == "the cat <eos> the <unk> <eos> <unk> cat <eos>"


def test_a_text_that_has_an_unknown_word_of_its_own_keeps_it():
    raw = RawText("<unk> a <unk> b\n", "c\n", "a\n")
    found = text(raw, tokens="words")
    assert found.vocabulary == ("<unk>", "<eos>", "a", "b") and list(found.valid) == [0, 1]
    # Where every token has an id, none is added.
    assert "<unk>" not in text(RawText("abc", "a", "b")).vocabulary


@pytest.mark.parametrize("part, remark", [(0.1, " (a tenth)"), (0.5, " (a half)"), (0.15, " (15 %)"), (1.0, ""),
                                          (None, "")])
def test_a_part_is_the_beginning_of_the_training_text_alone(part, remark):
    raw = RawText("abcdefghij" * 10, "jj", "aj")
    found = text(raw, part=part)
    assert found.name == f"tiny{remark}"
    assert decoded(found.vocabulary, found.train) == raw.train[:round(100 * (part or 1))]
    assert (len(found.valid), len(found.test)) == (2, 2)


def test_what_a_part_does_not_hold_is_unknown_and_words_are_told_in_the_name():
    found = text(RawText("a b\n" * 9 + "c d\n" * 11, "c\n", "a\n"), tokens="words", part=0.2)
    assert found.vocabulary == ("<eos>", "a", "b", "<unk>") and found.name == "tiny (words, a fifth)"
    assert decoded(found.vocabulary, found.valid, " ") == "<unk> <eos>"


def test_a_texts_fingerprint_tells_texts_apart():
    fingerprint = text().fingerprint
    assert fingerprint == text().fingerprint and len(fingerprint) == 64
    others = [text(RAW._replace(**{name: getattr(RAW, name) + "a"})) for name in RAW._fields]
    # The same ids, of other characters.
    others += [text(tokens="words"), text(part=0.9), text(RawText(*(split.replace("t", "T") for split in RAW)))]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 7


@pytest.mark.parametrize("keywords, error", [
    (dict(tokens="bytes"), "no tokens 'bytes'; choose one of characters, words"), (dict(part=0.0), "above 0"),
    (dict(part=1.5), "not 1.5"), (dict(part=float("nan")), "not nan"), (dict(part=0.001), "no characters"),
    (dict(vocabulary=0), "vocabulary of 0 holds nothing"),
    (dict(raw=RawText("a", "", "a")), "the validation text of tiny has no characters")])
def test_what_makes_no_text_is_refused(keywords, error):
    with pytest.raises(UserError, match=error):
        text(**keywords)


# Documents


def test_documents_are_padded_on_the_left_and_cut_off_on_the_right():
    found = documents("b a a", "a b a b a b a", "a", valid=["b b"], test=["a"])
    assert found.vocabulary == ("<pad>", "<start>", "<unk>", "a", "b")
    np.testing.assert_array_equal(found.train.inputs, [[0, 0, 1, 4, 3, 3], [1, 3, 4, 3, 4, 3], [0, 0, 0, 0, 1, 3]])
    np.testing.assert_array_equal(found.valid.inputs, [[0, 0, 0, 1, 4, 4]])
    np.testing.assert_array_equal(found.train.targets, [0, 1, 0])
    for split in (found.train, found.valid, found.test):
        assert split.inputs.dtype == split.targets.dtype == np.int32
    assert found.num_classes == 2 and found.id == "tiny"


def test_a_word_of_one_document_is_left_out_and_a_rarer_one_is_unknown():
    found = documents("the the cat once once once", "the dog sat", "a dog sat", "cat", vocabulary=2,
                      valid=["the new cat"], test=["once a the"])
    # Four times or not: "once" is in one document.
    assert found.vocabulary == ("<pad>", "<start>", "<unk>", "the", "cat")
    np.testing.assert_array_equal(found.train.inputs[0], [0, 0, 1, 3, 3, 4])
    np.testing.assert_array_equal(found.train.inputs[1], [0, 0, 1, 3, 2, 2])
    np.testing.assert_array_equal(found.valid.inputs[0], [0, 0, 0, 1, 3, 4])
    np.testing.assert_array_equal(found.test.inputs[0], [0, 0, 0, 0, 1, 3])


def test_words_stand_between_other_characters_and_keep_their_case():
    found = documents("It's <br />Über_2", "It's <br />Über_2")
    assert set(found.vocabulary[3:]) == {"It", "s", "br", "Über_2"}


def test_words_are_counted_in_training_documents_alone():
    found = documents("a", "a", valid=["b b"], test=["b b"])
    assert found.vocabulary == ("<pad>", "<start>", "<unk>", "a")
    np.testing.assert_array_equal(found.valid.inputs[0], [0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize("vocabulary, length, name", [
    (20000, 200, "tiny"), (None, 200, "tiny (whole vocabulary)"), (2, 6, "tiny (vocabulary 2, 6 tokens)")])
def test_a_name_tells_what_is_not_usual(vocabulary, length, name):
    assert documents("a", "a", vocabulary=vocabulary, length=length).name == name


def test_the_same_by_plain_python():
    """Against a straightforward reading of the description, on documents that have all the cases."""
    raw = data.DOCUMENTS["made-up"](None)
    found = data.load_documents("made-up", vocabulary=50, length=16)
    train = [re.split(r"\W+", document) for document in raw.train.inputs]
    counts = Counter(word for document in train for word in document)
    common = [word for word in counts if sum(word in document for document in train) > 1]
    known = sorted(common, key=lambda word: (-counts[word], word))[:50]
    for split, given in zip((found.train, found.valid, found.test), raw):
        np.testing.assert_array_equal(split.targets, given.targets)
        for row, document in zip(split.inputs, given.inputs):
            kept = [known.index(word) + 3 if word in known else 2 for word in re.split(r"\W+", document)
                    if word in common]
            expected = [1, *kept][:16]
            assert list(row) == [0] * (16 - len(expected)) + expected


def test_documents_fingerprint_tells_them_apart():
    found = [documents("a b", "a b"), documents("a c", "a c"), documents("a b", "a b", length=7),
             documents("a b", "a b", test=["b"]), documents("b", "a b", "a")]
    assert len({each.fingerprint for each in found}) == len(found)
    assert documents("a b", "a b").fingerprint == found[0].fingerprint


@pytest.mark.parametrize("arguments, keywords, error", [
    (["a"], dict(length=1), "hold no word"), (["a"], dict(vocabulary=0), "holds nothing"),
    ([], {}, "no training documents"), (["a"], dict(test=[]), "no test documents")])
def test_what_makes_no_documents_is_refused(arguments, keywords, error):
    with pytest.raises(UserError, match=error):
        documents(*arguments, **keywords)


def test_documents_without_any_word_are_their_start():
    found = documents("...", "a", "b")
    assert found.vocabulary == SPECIAL and (found.train.inputs[:, -1] == 1).all()


def test_shuffled_documents_keep_their_labels_and_repeat():
    names = [str(number) for number in range(50)]
    pieces = texts.shuffled(names, list(range(50)), (30, 40))
    assert [len(piece) for piece in pieces] == [30, 10, 10]
    order = np.random.RandomState(0).permutation(50)
    np.testing.assert_array_equal(np.concatenate([piece.targets for piece in pieces]), order)
    assert [name for piece in pieces for name in piece.inputs] == [str(number) for number in order]


# By name


def entropy(symbols):
    """Bits a symbol, by their counts."""
    shares = np.array(list(Counter(symbols).values()), float)
    shares /= shares.sum()
    return -(shares * np.log2(shares)).sum()


def test_the_made_up_text_is_small_and_always_the_same():
    found = data.load_text("made-up")
    assert found.fingerprint.startswith("f8c2fb1fa8666bcc") and found.id == found.name == "made-up"
    assert 48000 <= len(found.train) < 48100 and 6000 <= len(found.valid) < 6100 and 6000 <= len(found.test) < 6100
    assert len(found.vocabulary) < 25 and "<unk>" not in found.vocabulary
    # There is something to learn: a character says a bit or more about the next one.
    assert entropy(zip(found.train, found.train[1:])) < 2 * entropy(found.train) - 1


def test_the_made_up_documents_can_be_told_apart_by_a_few_words():
    found = data.load_documents("made-up")
    assert found.fingerprint.startswith("bbed23d0170a8fec") and found.num_classes == 2
    assert [len(split) for split in (found.train, found.valid, found.test)] == [800, 200, 200]
    assert np.bincount(found.test.targets).tolist() == [100, 100]
    telling = [[found.vocabulary.index(word) for word in words] for words in made_up.TELLING]
    votes = [np.isin(found.test.inputs, ids).sum(axis=1) for ids in telling]
    assert 0.9 < ((votes[1] > votes[0]) == found.test.targets).mean() < 1


@pytest.mark.parametrize("load, what", [(data.load_text, "no text 'tiny'; choose one of made-up, bible, ptb"),
                                        (data.load_documents, "no documents 'tiny'; choose one of made-up, reviews")])
def test_what_there_is_not_is_refused_with_what_there_is(load, what):
    with pytest.raises(UserError, match=what):
        load("tiny")
