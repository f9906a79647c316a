"""What is in a data set: reads it as a training does, downloads what is missing, and shows counts and an example.

    python experiments/data_sets.py                                     the names of all
    python experiments/data_sets.py mnist
    python experiments/data_sets.py bible --part 0.1
    python experiments/data_sets.py ptb --tokens words
    python experiments/data_sets.py reviews --vocabulary 5000 --length 100

Files that are not the official ones are refused; the fingerprint is the one that a run's config.json has. The bits of a
text are what the test text takes by how often each token occurs in the training text: a model has to do better.
"""

from collections import namedtuple

import _setup  # noqa: F401  must come first

import numpy as np
from tabulate import tabulate

import data
from data import texts
from data.dataset import fingerprint
from experiments.common import status
from utils import tokens
from utils.errors import UserError
from utils.flags import positive, size

SHOWN = 300     # characters of an example
MOST_FREQUENT = 12


def main():
    args, kinds = parse()
    if args.name is None:
        print(tabulate([(kind.title, ", ".join(kind.names)) for kind in KINDS]))
        return
    print("\n\n".join(kind.show(args) for kind in kinds))


def parse():
    """The flags, and the kinds of data that have the name."""
    parser = status.Parser("data_sets", __doc__)
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="of a data set; without it, all names")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    add("--variant", metavar="TEXT", help="of images: take files although they are not the official ones")
    add("--tokens", choices=("characters", "words"), default="characters", help="of a text (default: characters)")
    add("--part", type=size, metavar="X", help="of a text: the first share of the training text alone, such as 0.1")
    add("--vocabulary", type=positive, metavar="N", help="how many tokens keep an id of their own (default: all of a "
                                                         f"text, {texts.VOCABULARY} of documents)")
    add("--length", type=positive, default=texts.LENGTH, metavar="N",
        help=f"tokens of a document (default: {texts.LENGTH})")
    args = parser.parse_args()
    kinds = [kind for kind in KINDS if args.name in kind.names]
    if args.name is not None and not kinds:
        raise UserError(f"there is no data set {args.name!r}; {parser.prog} without a name lists all")
    for flag in parser.given(args, sorted(set().union(*(kind.flags for kind in KINDS)))):
        of = [kind for kind in KINDS if flag.removeprefix("--") in kind.flags]
        if not any(kind in kinds for kind in of):
            parser.error(f"{flag} is of {' and '.join(kind.title for kind in of)}"
                         + f", and {args.name} is none" * bool(args.name))
    return args, kinds


def images(args):
    raw, remarks = data.load_raw(args.name, args.data_dir, variant=args.variant)
    rows = [(title, len(split), "x".join(map(str, split.inputs.shape[1:])), _class_counts(split, raw.num_classes))
            for title, split in (("train", raw.train), ("test", raw.test))]
    arrays = [array for split in (raw.train, raw.test) for array in (split.inputs, split.targets)]
    return "\n".join([f"Images: {', '.join([args.name, *remarks])}",
                      _table(rows, ("", "Images", "Size", "Of each class")), f"fingerprint {fingerprint(*arrays)}"])


def text(args):
    found = data.load_text(args.name, args.data_dir, args.tokens, args.vocabulary, args.part)
    splits = {"train": found.train, "valid": found.valid, "test": found.test}
    counts = np.bincount(found.train, minlength=len(found.vocabulary))
    # One more of each: a token may be missing in the training text.
    bits = -np.log2((counts + 1) / (counts + 1).sum())
    rows = [(title, len(ids), f"{bits[ids].mean():.3f}", _unknown(ids, found.vocabulary))
            for title, ids in splits.items()]
    between = " " if args.tokens == "words" else ""
    example = between.join(found.vocabulary[number] for number in found.train[:SHOWN])
    return "\n".join([f"Text: {found.name}",
                      _table(rows, ("", args.tokens.capitalize(), f"Bits a {args.tokens[:-1]}", "Unknown %")),
                      _most_frequent(found.vocabulary, counts), f"fingerprint {found.fingerprint}", "",
                      example[:SHOWN].rstrip()])


def documents(args):
    found = data.load_documents(args.name, args.data_dir, args.vocabulary or texts.VOCABULARY, args.length)
    splits = {"train": found.train, "valid": found.valid, "test": found.test}
    rows = []
    for title, split in splits.items():
        lengths = (split.inputs != tokens.PADDING_ID).sum(axis=1)
        rows.append((title, len(split), _class_counts(split, found.num_classes), f"{np.median(lengths):g}",
                     _unknown(split.inputs[split.inputs != tokens.PADDING_ID], found.vocabulary)))
    counts = np.bincount(found.train.inputs.ravel(), minlength=len(found.vocabulary))
    counts[:len(tokens.SPECIAL)] = 0
    shown = [number for number in found.train.inputs[0] if number != tokens.PADDING_ID]
    example = " ".join(found.vocabulary[number] for number in shown)
    return "\n".join([f"Documents: {found.name}",
                      _table(rows, ("", "Documents", "Of each class", "Tokens, median", "Unknown %")),
                      _most_frequent(found.vocabulary, counts), f"fingerprint {found.fingerprint}", "",
                      f"class {found.train.targets[0]}: {example[:SHOWN].rstrip()}"])


#: title; names : of its data sets; show(args) : what there is to say of one; flags : that it has.
Kind = namedtuple("Kind", "title names show flags")
KINDS = (Kind("images", data.DATASETS, images, {"variant"}),
         Kind("texts", data.TEXTS, text, {"tokens", "part", "vocabulary"}),
         Kind("documents", data.DOCUMENTS, documents, {"vocabulary", "length"}))


def _table(rows, headers):
    return tabulate([[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows], headers,
                    stralign="right", disable_numparse=True)


def _class_counts(split, num_classes):
    counts = np.bincount(split.targets, minlength=num_classes)
    return ", ".join(map(str, counts)) if num_classes <= 10 else f"{counts.min()} to {counts.max()}"


def _unknown(ids, vocabulary):
    share = np.mean(ids == vocabulary.index(tokens.UNKNOWN)) if tokens.UNKNOWN in vocabulary else 0
    return f"{100 * share:.2f}"


def _most_frequent(vocabulary, counts):
    first = np.argsort(-counts, kind="stable")[:MOST_FREQUENT]
    return f"{len(vocabulary):,} tokens, most frequent: {' '.join(repr(vocabulary[number]) for number in first)}"


if __name__ == "__main__":
    status.main(main)
