"""A recurrent network of texts without Theano: embedding, LSTM and output layer, and the tokens that it knows."""

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from utils import measures
from utils.errors import UserError
from utils.export.network import LARGEST
from utils.export.predict import activate
from utils.tokens import END_OF_LINE, PADDING_ID, UNKNOWN, UNKNOWN_ID, WORD, line_words, padded

__all__ = ["TextNetwork", "compact_text", "of_run", "pruned_as_unknown", "text_shapes", "UNITS", "TASKS", "PATTERNS"]

#: What a network is for: the next character, the next word, or the class of a document.
TASKS = ("characters", "words", "documents")
#: How a text may be split into words; from a stranger's file, no other regular expression is taken.
PATTERNS = (r"\S+", r"[\w']+|[^\w\s]", WORD)
#: Of a network without an embedding, `dimensions` is 0.
UNITS = ("words", "dimensions", "neurons", "outputs")
#: Tokens of a document.
LONGEST = 2 ** 16
#: Numbers that a block of steps may take at once.
_BLOCK = 2 ** 23


@dataclass
class TextNetwork:
    """A trained LSTM that predicts without Theano.

    Attributes
    ----------
    task : str
        one of `TASKS`
    arrays : dict
        float32: embedding.W (words, dimensions), of documents alone; lstm.W_x (dimensions or words, 4 neurons),
        lstm.W_h (neurons, 4 neurons) and lstm.b, gates in the order input, forget, cell, output; output.W (neurons,
        outputs) and output.b
    vocabulary : tuple of str
        id -> token; of documents, padding, the start and unknown words come first
    classes : list of str
        of documents: their names
    pattern : str
        one of `PATTERNS`: what a word is
    length : int or None
        of documents: how many tokens are read
    hard : bool
        whether gates are hard sigmoids, clip(0.2 x + 0.5, 0, 1)
    lower : bool or None
        whether texts are lower-cased; None: they are if no token has a capital

    Raises
    ------
    UserError
        if the parts do not fit together.
    """

    task: str
    arrays: dict
    vocabulary: tuple
    classes: list
    pattern: str
    length: int | None
    hard: bool
    lower: bool | None = None

    def __post_init__(self):
        if self.lower is None:
            self.lower = has_no_capitals(self.vocabulary)
        units = self.units
        try:
            expected = text_shapes(self.task, units)
        except ValueError as error:
            raise UserError(str(error)) from None
        found = {name: array.shape for name, array in self.arrays.items()}
        if found != expected:
            raise UserError(f"a network of {self.task} with arrays of the shapes {found} cannot be computed here, "
                            f"which takes {expected}")
        for name, array in self.arrays.items():
            if not np.isfinite(array).all():
                raise UserError(f"{name} holds NaN or infinite numbers")
        if len(self.vocabulary) != units["words"] or len(set(self.vocabulary)) != len(self.vocabulary):
            raise UserError(f"a vocabulary of {len(set(self.vocabulary))} tokens is none for {units['words']} words")
        if not all(map(str.isprintable, self.classes)):
            raise UserError("a class has a name that cannot be printed")
        if self.pattern not in PATTERNS:
            raise UserError(f"words by the pattern {self.pattern!r} are unknown here")
        if self.task == "documents" and (len(self.classes) != units["outputs"] or not self.length
                                         or not 2 <= self.length <= LONGEST or units["words"] <= UNKNOWN_ID):
            raise UserError(f"{len(self.classes)} classes of documents of {self.length} tokens do not fit a network of "
                            f"{units['outputs']} outputs")

    @property
    def units(self):
        """{name of `UNITS`: how many there are}."""
        embedding = self.arrays.get("embedding.W")
        W_x, W = self.arrays["lstm.W_x"], self.arrays["output.W"]
        words, dimensions = (len(W_x), 0) if embedding is None else embedding.shape
        return dict(zip(UNITS, (words, dimensions, *W.shape)))

    @property
    def gates(self):
        """How many gates of neurons depend on anything; the others are constants."""
        return int((self.arrays["lstm.W_x"].any(axis=0) | self.arrays["lstm.W_h"].any(axis=0)).sum())

    def weights(self):
        """The arrays that count as weights: {name: array}."""
        return {name: array for name, array in self.arrays.items() if array.ndim == 2}

    def multiplications(self, sparse=False):
        """How many a token takes in products with matrices; `sparse` leaves weights of 0 out.

        A row of the embedding times W_x counts as a product, a row of W_x alone does not.
        """
        counted = [array for name, array in self.weights().items() if name != "embedding.W"
                   and not (name == "lstm.W_x" and self.task != "documents")]
        return sum(int(np.count_nonzero(array)) if sparse else array.size for array in counted)

    def encode(self, text):
        """A text's ids, int32, (tokens,); of documents, padding where it is short, the start, and the first words.

        A word without an id is an unknown one.

        Raises
        ------
        UserError
            if a token is unknown to a network that knows of no unknown ones.
        """
        if self.lower:
            text = text.lower()
        if self.task == "documents":
            return padded([self.ids(re.findall(self.pattern, text))], self.length)[0]
        return self.ids(list(text) if self.task == "characters" else line_words(text, self.pattern))

    def ids(self, tokens):
        """The ids of a list of str, int32; errors as of :meth:`encode`."""
        unknown = UNKNOWN_ID if self.task == "documents" else self._ids.get(UNKNOWN)
        found = [self._ids.get(token, unknown) for token in tokens]
        if None in found:
            raise UserError(f"the network knows no {tokens[found.index(None)]!r}; it was trained on a text without it")
        return np.array(found, np.int32)

    def decode(self, ids):
        """The text of ids."""
        tokens = [self.vocabulary[number] for number in ids]
        if self.task == "characters":
            return "".join(tokens)
        return " ".join("\n" if token == END_OF_LINE else token for token in tokens).replace(" \n ", "\n")

    def predict(self, texts):
        """Probabilities of the classes of documents, (documents, classes), float32; `texts` is a list of str."""
        self._require("documents")
        return self.probabilities(np.stack([self.encode(text) for text in texts]))

    def classify(self, texts):
        """The name of each document's most probable class."""
        return [self.classes[number] for number in self.predict(texts).argmax(axis=1)]

    def bits(self, text):
        """The mean of -log2 p(token) over a text's tokens but the first, each given those before it.

        Of networks of words, the end of a line is a token, that of the last line too.
        """
        self._require("characters", "words")
        ids = self.encode(text)
        if len(ids) < 2:
            raise UserError("a text of one token predicts nothing")
        return measures.bits(self.evaluate(ids[np.newaxis, :-1], ids[np.newaxis, 1:])[0])

    def generate(self, number, start, temperature=1.0, seed=0):
        """`number` tokens that follow a text, drawn one after another; temperatures below 1 make them more probable.

        Words begin a new line after a text that ends with a line break, and go on with its last line otherwise.
        """
        self._require("characters", "words")
        generator, ids, state = np.random.default_rng(seed), self.encode(start), None
        if self.task == "words" and len(ids) > 1 and not start.endswith("\n"):
            ids = ids[:-1]                                # the line goes on
        if not len(ids):
            raise UserError("an empty text is followed by nothing: give a word or two")
        found = []
        for _ in range(number):
            h, state = self._steps(ids[np.newaxis], state)
            scores = self._scores(h[:, -1])[0].astype(np.float64) / temperature
            shares = np.exp(scores - scores.max())
            ids = np.array([generator.choice(len(shares), p=shares / shares.sum())], np.int32)
            found.append(int(ids[0]))
        return self.decode(found)

    def probabilities(self, tokens):
        """Of ids, (sequences, steps): (sequences, classes) of documents, else (sequences, steps, tokens)."""
        blocks = list(self._blocks(np.asarray(tokens)))
        return np.concatenate(blocks, axis=0 if self.task == "documents" else 1)

    def evaluate(self, tokens, targets):
        """The mean of -log p(target) in nats, and the percentage of targets that are not the most probable ones.

        Parameters
        ----------
        tokens : numpy array
            (sequences, steps), ids
        targets : numpy array
            (documents,), or (sequences, steps): the tokens that follow
        """
        nll, wrong, start = 0.0, 0, 0
        axis = 0 if self.task == "documents" else 1
        for block in self._blocks(np.asarray(tokens)):
            own = np.take(targets, np.arange(start, start + block.shape[axis]), axis=axis)
            start += block.shape[axis]
            chosen = np.take_along_axis(block, own[..., np.newaxis].astype(int), axis=-1)
            nll -= np.log(np.maximum(chosen, np.finfo(np.float32).tiny), dtype=np.float64).sum()
            wrong += int((block.argmax(axis=-1) != own).sum())
        return nll / np.size(targets), 100 * wrong / np.size(targets)

    def _blocks(self, tokens):
        """Probabilities of a few documents after another, or of all sequences a few steps after another."""
        if self.task == "documents":
            size = max(1, _BLOCK // (4 * self.units["neurons"] * tokens.shape[1]))
            for start in range(0, len(tokens), size):
                h, _ = self._steps(tokens[start:start + size], last=True)
                yield activate("softmax", self._scores(h))
            return
        state, size = None, max(1, _BLOCK // (max(self.units["outputs"], 4 * self.units["neurons"]) * len(tokens)))
        for start in range(0, tokens.shape[1], size):
            h, state = self._steps(tokens[:, start:start + size], state)
            scores = self._scores(h.reshape(-1, h.shape[2]))
            yield activate("softmax", scores).reshape(*h.shape[:2], -1)

    def _steps(self, tokens, state=None, last=False):
        """h at each step, (sequences, steps, neurons), or the last one alone, and the state (h, c)."""
        sequences, steps = tokens.shape
        neurons, (moved, W_h) = self.units["neurons"], self._moved
        h, c = state or (np.zeros((sequences, neurons), np.float32),) * 2
        found = None if last else np.empty((sequences, steps, neurons), np.float32)
        for step in range(steps):
            a = self._added[tokens[:, step]]
            a[:, moved] += h @ W_h
            i, f, g, o = (a[:, number * neurons:(number + 1) * neurons] for number in range(4))
            cell = self._gate(f) * c + self._gate(i) * np.tanh(g)
            output = self._gate(o) * np.tanh(cell)
            if self.task == "documents":
                read = (tokens[:, step] != PADDING_ID)[:, np.newaxis]
                output, cell = np.where(read, output, h), np.where(read, cell, c)
            h, c = output, cell
            if not last:
                found[:, step] = h
        return (h if last else found), (h, c)

    def _scores(self, h):
        return h @ self.arrays["output.W"] + self.arrays["output.b"]

    def _gate(self, a):
        return np.clip(0.2 * a + 0.5, 0, 1, dtype=np.float32) if self.hard else activate("sigmoid", a)

    @cached_property
    def _added(self):
        """What each token adds to the pre-activations of all gates."""
        embedding = self.arrays.get("embedding.W")
        W_x = self.arrays["lstm.W_x"]
        return (W_x if embedding is None else embedding @ W_x) + self.arrays["lstm.b"]

    @cached_property
    def _moved(self):
        """The gates that the state moves, and W_h's columns of them."""
        W_h = self.arrays["lstm.W_h"]
        moved = np.flatnonzero(W_h.any(axis=0))
        return moved, np.ascontiguousarray(W_h[:, moved])

    @cached_property
    def _ids(self):
        return {token: number for number, token in enumerate(self.vocabulary)}

    def _require(self, *tasks):
        if self.task not in tasks:
            raise UserError(f"this network is one of {self.task}; that takes one of {' or '.join(tasks)}")


def has_no_capitals(vocabulary):
    """Whether no token has a capital: then texts were lower-cased before their tokens were counted."""
    return all(token == token.lower() for token in vocabulary)


def text_shapes(task, units):
    """The shapes of a network's arrays: {name: tuple}; ValueError for numbers that no network has.

    Parameters
    ----------
    task : str
    units : dict
        of `UNITS`
    """
    words, dimensions, neurons, outputs = (units[name] for name in UNITS)
    if task not in TASKS or any(type(number) is not int or number < 1 for number in (words, neurons, outputs)) \
            or type(dimensions) is not int or (dimensions < 1) == (task == "documents") or dimensions < 0 \
            or (task != "documents" and outputs != words):
        raise ValueError(f"there is no network of {task} with {units}")
    found = {"embedding.W": (words, dimensions)} if dimensions else {}
    found.update({"lstm.W_x": (dimensions or words, 4 * neurons), "lstm.W_h": (neurons, 4 * neurons),
                  "lstm.b": (4 * neurons,), "output.W": (neurons, outputs), "output.b": (outputs,)})
    if sum(map(math.prod, found.values())) > LARGEST or 4 * words * neurons > LARGEST:
        raise ValueError("the network is too large")
    return found


def of_run(layers, arrays, **keywords):
    """The :class:`TextNetwork` of a run: its layers as :mod:`nets.describe` has them, and its pruned weights.

    Parameters
    ----------
    layers : list of dict
    arrays : dict
        {"layer.param": float32 array}
    **keywords
        `task`, `vocabulary`, `classes`, `pattern` and `length` of :class:`TextNetwork`

    Raises
    ------
    UserError
        if they are of another network than one LSTM with an output layer and perhaps an embedding.
    """
    kinds = [layer.get("kind") for layer in layers[1:]]
    if kinds not in (["lstm", "output"], ["embedding", "lstm", "output"]):
        raise UserError(f"the layers {', '.join(map(str, kinds))} are no network of texts that can be exported: known "
                        "is one LSTM with an output layer and perhaps an embedding")
    found = {}
    for layer in layers[1:]:
        prefix = f"{layer['name']}."
        found.update({f"{layer['kind']}.{name.removeprefix(prefix)}": array
                      for name, array in arrays.items() if name.startswith(prefix)})
    if missing := {"lstm.W_x", "lstm.W_h", "lstm.b", "output.W", "output.b"} - set(found):
        raise UserError(f"the network has no {', '.join(sorted(missing))}")
    return TextNetwork(arrays=found, hard=bool(layers[-2].get("hard")), **keywords)


def pruned_as_unknown(network):
    """A network of documents that reads words whose embedding is 0 as unknown ones, so that no file needs them."""
    W = network.arrays["embedding.W"].copy()
    pruned = ~W.any(axis=1)
    pruned[:UNKNOWN_ID] = False                  # padding and the start are no words
    W[pruned] = W[UNKNOWN_ID]
    return replace(network, arrays={**network.arrays, "embedding.W": W})


def compact_text(network):
    """The smaller network with the same predictions, rounding apart.

    Left out are dimensions of the embedding that lead nowhere or hold nothing, neurons that nothing which leads to the
    outputs reads, and words whose embedding is that of unknown words, as which they are read from then on.

    Parameters
    ----------
    network : :class:`TextNetwork`
    """
    arrays, vocabulary = dict(network.arrays), network.vocabulary
    neurons, before = arrays["output.W"].any(axis=1), None
    W_h = arrays["lstm.W_h"] * neurons.any()
    neurons[0] |= not neurons.any()
    while before != (before := neurons.sum()):
        neurons |= W_h[:, np.tile(neurons, 4)].any(axis=1)
    columns = np.tile(neurons, 4)
    arrays.update({"lstm.W_x": arrays["lstm.W_x"][:, columns], "lstm.W_h": W_h[neurons][:, columns],
                   "lstm.b": arrays["lstm.b"][columns], "output.W": arrays["output.W"][neurons]})
    if network.task == "documents":
        dimensions = arrays["embedding.W"].any(axis=0) & arrays["lstm.W_x"].any(axis=1)
        dimensions[0] |= not dimensions.any()
        W = arrays["embedding.W"][:, dimensions]
        words = (W != W[UNKNOWN_ID]).any(axis=1)
        words[:UNKNOWN_ID + 1] = True
        arrays.update({"embedding.W": W[words], "lstm.W_x": arrays["lstm.W_x"][dimensions]})
        vocabulary = tuple(token for token, left in zip(vocabulary, words) if left)
    return replace(network, arrays={name: np.ascontiguousarray(array) for name, array in arrays.items()},
                   vocabulary=vocabulary)
