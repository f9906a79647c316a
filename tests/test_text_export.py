"""Networks of texts without Theano: made smaller, kept in a file, and what they say."""

import json

import numpy as np
import pytest

import samples
from experiments import compress
from data import TEXTS
from data.texts import Documents, RawDocuments, Split, Text
from test_export import packages, run_without_theano  # noqa: F401  a fixture
from utils.errors import UserError
from utils.export import container, load, texts
from utils.export.coding import VALUES
from utils.export.texts import PATTERNS, TextNetwork, compact_text, pruned_as_unknown
from utils.tokens import END_OF_LINE, SPECIAL, UNKNOWN_ID, WORD

TASKS = ("characters", "words", "documents")


def sparse(task, seed, kept=0.3, **units):
    """A network with few weights; what leads from three of its seven neurons, and from some words, is 0."""
    network, rng = samples.text_network(task, seed, **units), np.random.default_rng(seed)
    arrays = {name: array * (rng.random(array.shape) < kept) if array.ndim == 2 else array
              for name, array in network.arrays.items()}
    for name, rows in (("lstm.W_h", [0, 3, 4]), ("output.W", [0, 3, 4]), ("lstm.W_x", [2]), ("embedding.W", [2, 5, 9])):
        if name in arrays:
            arrays[name][rows] = 0
    return TextNetwork(task, {name: array.astype(np.float32) for name, array in arrays.items()}, network.vocabulary,
                       network.classes, network.pattern, network.length, network.hard)


def sentences(network, number=20):
    rng = np.random.default_rng(1)
    words = [token for token in network.vocabulary if token not in (*SPECIAL, END_OF_LINE)]
    separator = "" if network.task == "characters" else " "
    return [separator.join(rng.choice(words, 9)) for _ in range(number)]


def by_hand(network, ids):
    """Probabilities of what follows the last of a few ids, in float64, one gate after another."""
    arrays = {name: array.astype(float) for name, array in network.arrays.items()}
    units = network.units["neurons"]
    h = c = np.zeros(units)

    def gate(x):
        return np.clip(0.2 * x + 0.5, 0, 1) if network.hard else 1 / (1 + np.exp(-x))
    for token in ids:
        if network.task == "documents" and token == 0:
            continue
        x = arrays["lstm.W_x"]
        x = arrays["embedding.W"][token] @ x if network.task == "documents" else x[token]
        i, f, g, o = (x + h @ arrays["lstm.W_h"] + arrays["lstm.b"]).reshape(4, units)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    scores = np.exp(h @ arrays["output.W"] + arrays["output.b"])
    return scores / scores.sum()


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_are_those_of_the_formulas(task, monkeypatch):
    monkeypatch.setattr(texts, "_BLOCK", 100)         # in blocks of a few steps or documents
    network = sparse(task, 3, kept=0.8)
    ids = np.stack([network.encode(sentence) for sentence in sentences(network)])
    found = network.probabilities(ids)
    for row, tokens in zip(found, ids):
        if task == "documents":
            np.testing.assert_allclose(row, by_hand(network, tokens), atol=1e-6)
            continue
        for step in (0, 4, len(tokens) - 1):
            np.testing.assert_allclose(row[step], by_hand(network, tokens[:step + 1]), atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_an_evaluation_is_of_these_probabilities(task, monkeypatch):
    monkeypatch.setattr(texts, "_BLOCK", 300)
    network, rng = sparse(task, 4, kept=0.8), np.random.default_rng(4)
    ids = np.stack([network.encode(sentence) for sentence in sentences(network)])
    output = network.probabilities(ids)
    targets = rng.integers(network.units["outputs"], size=output.shape[:-1])
    nll, wrong = network.evaluate(ids, targets)
    assert nll == pytest.approx(-np.log(np.take_along_axis(output, targets[..., None], -1)).mean(), rel=1e-5)
    assert wrong == pytest.approx(100 * (output.argmax(-1) != targets).mean())
    if task != "documents":
        text = sentences(network)[0]
        tokens = network.encode(text)
        assert network.bits(text) == pytest.approx(np.mean([
            -np.log2(by_hand(network, tokens[:step])[tokens[step]]) for step in range(1, len(tokens))]), rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(8))
def test_compaction_keeps_the_predictions(task, seed):
    network = sparse(task, seed, kept=0.12)
    small = compact_text(network)
    lines = sentences(network)
    one, other = (found.probabilities(np.stack([found.encode(line) for line in lines])) for found in (network, small))
    np.testing.assert_allclose(other, one, atol=1e-6)
    assert sum(array.size for array in small.weights().values()) < sum(
        array.size for array in network.weights().values())
    W = small.arrays["output.W"]
    assert small.units["neurons"] == 1 or (W.any(axis=1) | small.arrays["lstm.W_h"].any(axis=1)).all()
    again = compact_text(small)
    assert again.units == small.units and again.vocabulary == small.vocabulary


def test_what_nothing_reads_is_cut_however_long_the_way():
    network = samples.text_network("characters", 1, neurons=5)
    network.arrays["output.W"][1:] = 0
    network.arrays["lstm.W_h"][:] = 0
    columns = np.arange(4) * 5
    network.arrays["lstm.W_h"][1, columns + 0] = 1     # neuron 1 is read by 0, 2 by 1; 3 and 4 by each other alone
    network.arrays["lstm.W_h"][2, columns + 1] = 1
    network.arrays["lstm.W_h"][3, columns + 4] = network.arrays["lstm.W_h"][4, columns + 3] = 1
    assert compact_text(network).units["neurons"] == 3


@pytest.mark.parametrize("task", TASKS)
def test_a_wholly_pruned_network_gives_its_biases(task):
    network = samples.text_network(task, 2)
    for name, array in network.weights().items():
        network.arrays[name] = np.zeros_like(array)
    small = compact_text(network)
    scores = np.exp(network.arrays["output.b"])
    assert small.units["neurons"] == 1 and small.gates == 0
    output = small.probabilities(small.encode(sentences(network)[0])[np.newaxis])
    np.testing.assert_allclose(output.reshape(-1, len(scores))[-1], scores / scores.sum(), atol=1e-6)


def test_words_like_unknown_ones_are_read_as_such():
    network = samples.text_network("documents", 5)
    network.arrays["embedding.W"][[5, 7]] = network.arrays["embedding.W"][UNKNOWN_ID]
    small = compact_text(network)
    assert small.vocabulary == tuple(word for number, word in enumerate(network.vocabulary) if number not in (5, 7))
    assert (small.predict(["w5 w6 w7 nowhere"]) == network.predict(["w5 w6 w7 nowhere"])).all()


def test_pruned_words_are_read_as_unknown_ones():
    network = samples.text_network("documents", 1)
    network.arrays["embedding.W"][[5, 9]] = 0
    pruned = [network.vocabulary[number] for number in (5, 9)]
    small = compact_text(pruned_as_unknown(network))
    assert small.vocabulary == tuple(token for token in network.vocabulary if token not in pruned)
    left = [token for token in small.vocabulary if token not in SPECIAL]
    unknown = f"{left[0]} nowhere {left[1]}"
    expected = network.predict([unknown, " ".join(left[:4])])
    np.testing.assert_allclose(small.predict([unknown, " ".join(left[:4])]), expected, atol=1e-6)
    np.testing.assert_allclose(small.predict([unknown.replace("nowhere", pruned[0])]), expected[:1], atol=1e-6)
    assert np.abs(network.predict([unknown.replace("nowhere", pruned[0])]) - expected[:1]).max() > 1e-4


# What is done to texts is what was done to those that the network was trained on.

def test_documents_become_the_ids_that_they_were_trained_as():
    lines = ["a good film", "a bad film, not a good film at all", "good"] * 2
    raw = RawDocuments(*[Split(lines, np.zeros(len(lines), int))] * 3, num_classes=2)
    found = Documents.of(raw, vocabulary=4, length=6)
    network = samples.text_network("documents", 1, words=len(found.vocabulary), length=6, vocabulary=found.vocabulary)
    assert (np.stack([network.encode(line) for line in lines]) == found.test.inputs).all()
    assert (network.encode("GOOD") == found.test.inputs[2]).all()
    assert {WORD, *(spec.words.pattern for spec in TEXTS.values())} <= set(PATTERNS)


def test_capitals_count_although_no_word_with_one_is_left(packages, tmp_path):  # noqa: F811
    """What was an unknown word must not become another one."""
    network = samples.text_network("documents", 1, words=6,
                                   vocabulary=("<pad>", "<start>", "<unk>", "the", "The", "great"))
    network.arrays["embedding.W"][4] = network.arrays["embedding.W"][2]
    layers = [{"kind": "input"}, {"kind": "embedding", "name": "e"}, {"kind": "lstm", "name": "l", "hard": True},
              {"kind": "output", "name": "o"}]
    names = {"embedding": "e", "lstm": "l", "output": "o"}
    arrays = {f"{names[name.split('.')[0]]}.{name.split('.')[1]}": array for name, array in network.arrays.items()}
    network = texts.of_run(layers, arrays, task="documents", vocabulary=network.vocabulary, classes=network.classes,
                           pattern=network.pattern, length=network.length)
    small = compact_text(network)
    assert "The" not in small.vocabulary
    container.save(small, str(tmp_path / "net"))
    lines = ["The Great", "the great"]
    for found in (small, container.load(str(tmp_path / "net"))):
        np.testing.assert_allclose(found.predict(lines), network.predict(lines), atol=1e-6)


@pytest.mark.parametrize("task", ("characters", "words"))
def test_texts_become_the_ids_that_they_were_trained_as(task):
    text = "in the beginning\nwas , the word\n"
    found = Text.of((text, text, text), TEXTS["bible"].words, task)
    network = samples.text_network(task, 1, words=len(found.vocabulary), vocabulary=found.vocabulary,
                                   pattern=TEXTS["bible"].words.pattern)
    assert (network.encode(text) == found.train).all()
    assert network.decode(found.train).strip() == text.strip()
    with pytest.raises(UserError, match="knows no '[X]'|knows no 'x'"):
        network.encode("X")


def test_text_is_written_on():
    network = sparse("words", 6, kept=0.9)
    written = network.generate(12, "w3 w4", seed=1)
    assert written == network.generate(12, "w3 w4", seed=1) != network.generate(12, "w3 w4", seed=2)
    cold = network.generate(1, "w3 w4", temperature=1e-4)
    ids = network.encode("w3 w4")[:-1]
    assert cold.split(" ")[0] == network.vocabulary[by_hand(network, ids).argmax()].replace("<eos>", "\n")
    for call, reason in ((lambda: network.predict(["w3"]), "takes one of documents"),
                         (lambda: network.bits(""), "predicts nothing"),
                         (lambda: sparse("documents", 1).bits("w3"), "takes one of characters or words")):
        with pytest.raises(UserError, match=reason):
            call()
    assert network.generate(1, "")      # a line begins
    assert network.generate(8, "w3 w4\n", seed=1) != network.generate(8, "w3 w4", seed=1)
    with pytest.raises(UserError, match="followed by nothing"):
        sparse("characters", 1).generate(1, "")
    with pytest.raises(UserError, match="predicts nothing"):
        sparse("characters", 1).bits("a")


# Files.

@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("task", TASKS)
def test_a_file_holds_the_network(packages, tmp_path, task, values):  # noqa: F811
    allowed = {"float32": 0, "float16": 2e-3}.get(values, 0.4 / 2 ** (int(values) - 3) if values.isdigit() else None)
    for seed in range(4):
        network = compact_text(sparse(task, seed))
        size = container.save(network, str(tmp_path / "net"), values)
        read = load(str(tmp_path / "net"))
        assert size == (tmp_path / "net").stat().st_size
        for name in ("task", "vocabulary", "classes", "pattern", "length", "hard", "units"):
            assert getattr(read, name) == getattr(network, name)
        ids = np.stack([network.encode(line) for line in sentences(network)])
        assert abs(read.probabilities(ids) - network.probabilities(ids)).max() <= allowed


def test_files_that_ask_for_too_much_or_nothing_known_are_refused(packages, monkeypatch):  # noqa: F811
    network, dumps = compact_text(sparse("documents", 1)), json.dumps
    for change in ({"task": "poems"}, {"pattern": "(a+)+$"}, {"hard": 1}, {"length": 2 ** 16 + 1}, {"length": "9"},
                   {"classes": ["a"]}, {"classes": ["a", "b", "\x1b[31m"]},
                   {"classes": [1, 2, 3]}, {"values": "3"}, {"units": {"words": 9}},
                   {"units": {**network.units, "words": 2 ** 30}}, {"units": {**network.units, "neurons": 2 ** 20}},
                   {"units": {**network.units, "neurons": -1}}, {"units": {**network.units, "dimensions": 0}},
                   {"units": {**network.units, "words": network.units["words"] - 1}}):
        with monkeypatch.context() as patched:
            patched.setattr(container.json, "dumps", lambda value, **keywords: dumps({**value, **change}))  # noqa: B023
            content = container.dumps(network, "5")
        with pytest.raises(UserError) as raised:
            container.loads(content)
        assert len(str(raised.value).splitlines()) == 1, change


def test_prediction_from_a_file_needs_no_theano(packages, tmp_path):  # noqa: F811
    container.save(sparse("documents", 1), str(tmp_path / "net"), "6")
    result = run_without_theano("net.predict(['w4 w5', 'w6']).sum(axis=1).round(4)", tmp_path / "net")
    assert result.returncode == 0 and result.stdout.strip() == "[1. 1.]", result.stderr


def test_networks_that_do_not_fit_are_refused():
    network = samples.text_network("documents", 1)
    arrays = dict(network.arrays)
    for change, reason in (({"vocabulary": network.vocabulary[1:]}, "vocabulary of"), ({"classes": ["a"]}, "1 classes"),
                           ({"pattern": "(a+)+$"}, "pattern"), ({"task": "words"}, "no network of words"),
                           ({"arrays": {**arrays, "lstm.b": np.full_like(arrays["lstm.b"], np.nan)}}, "NaN"),
                           ({"arrays": {**arrays, "lstm.b": arrays["lstm.b"][1:]}}, "cannot be computed")):
        with pytest.raises(UserError, match=reason):
            TextNetwork(**{**{name: getattr(network, name) for name in (
                "task", "arrays", "vocabulary", "classes", "pattern", "length", "hard")}, **change})
    layers = [{"kind": "input", "name": "input"}, {"kind": "lstm", "name": "a"}, {"kind": "lstm", "name": "b"}]
    for found in (layers, layers[:1], [*layers[:2], {"kind": "output", "name": "out"}]):
        with pytest.raises(UserError, match="no network of texts|has no lstm"):
            texts.of_run(found, {}, task="words", vocabulary=(), classes=[], pattern=PATTERNS[0], length=None)


def test_a_strangers_tokens_do_not_reach_the_terminal_as_commands(monkeypatch):
    network = sparse("words", 6)
    monkeypatch.setattr(type(network), "generate", lambda *_: "\x1b[2Jo\n")
    assert compress.predicted(network, "w3") == "w3 \ufffd[2Jo\n"
