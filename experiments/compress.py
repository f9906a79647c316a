"""What a finished run's pruned network is good for: one small file that predicts without Theano, C, ONNX, PyTorch.

    python experiments/compress.py results/RUN                      writes results/RUN/network.safetensors
    python experiments/compress.py results/RUN --values 5           with shared values of 5 bits
    python experiments/compress.py results/RUN --c net.c --onnx net.onnx --torch state.safetensors
    python experiments/compress.py results/RUN --predict digit.png  classifies a picture, drawn on white or on black
    python experiments/compress.py network.safetensors --predict digit.png
    python experiments/compress.py results/RUN --predict "In the beginning"    of texts: writes on, or classifies

Needs the packages of requirements-export.txt. Without --values, the smallest file is taken whose error on the last
training images, or the validation documents, is no higher than that of the network itself (by over 0.02 points; of
language models, 0.005 bits); the test set only reports.
"""

import contextlib
import gzip
import os

import _setup  # noqa: F401  must come first

import numpy as np
from tabulate import tabulate

import data
from data.sequences import Streams
from experiments.common import status
from experiments.common.finished import FinishedRun
from utils import files, tables
from utils.errors import UserError
from utils.export import TextNetwork, compact, container, load
from utils.export.c_file import write_c
from utils.export.coding import VALUES
from utils.export.onnx import write_onnx
from utils.export.picture import read_picture
from utils.export.texts import compact_text, pruned_as_unknown
from utils.export.torch_state import write_state
from utils.measures import bits

#: Names of the classes; other data sets have numbers.
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion-mnist": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    "reviews": ("negative", "positive"), "imdb": ("negative", "positive"),
    "ag-news": ("world", "sports", "business", "science and technology")}
#: Training images that `choose` looks at, and errors among 100, or bits a token, that a smaller file may bring.
HELD_OUT, ALLOWED, ALLOWED_BITS = 10000, 0.02, 0.005
#: Added to what is allowed: sums of floats that are equal on paper differ in the last digits.
ROUNDING = 1e-9
#: Long pieces that a test text is read in, too: a network that begins anew often is at a loss for as often.
PIECES = 20
#: Probabilities that are compared, at most, of a text's first tokens; tokens that `--predict` writes.
COMPARED, WRITTEN = 1_000_000, 300
#: Images whose two best classes are closer than this may change their class by rounding.
CLOSE = 1e-5


def main():
    parser = status.Parser("compress", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a finished run, with its weights_pruned.npz; or a file made of one")
    add("--values", choices=VALUES, help="how numbers are kept: as they are, or shared values of 4 to 8 bits (default: "
                                         "the smallest that is as good on training images, or on validation texts)")
    add("--output", metavar="FILE", help="the file (default: RUN/network.safetensors)")
    add("--c", metavar="FILE", help="write a C file, too")
    add("--onnx", metavar="FILE", help="write an ONNX model, too")
    add("--torch", metavar="FILE",
        help="write PyTorch's state_dict of the network before compaction, too, as safetensors")
    add("--predict", metavar="IMAGE", help="classify a picture; of networks of texts, classify this text, or write on "
                                           "from it")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    args = parser.parse_args()
    if os.path.isfile(args.run):
        if args.torch or args.values or args.output:
            raise UserError(f"{args.run} is a file, compressed already: --values, --output and --torch take a run's "
                            "folder")
        network, title = load(args.run), os.path.basename(args.run)
        if isinstance(network, TextNetwork):
            refuse_other_formats(args)
        if not (args.c or args.onnx or args.predict is not None):
            raise UserError(f"{args.run} is compressed already: give --predict, --c or --onnx")
    else:
        network, title = compress(args)
    if args.c:
        write_c(network, args.c, title=title)
        print(f"Written: {args.c}, {os.path.getsize(args.c):,} bytes")
    if args.onnx:
        write_onnx(network, args.onnx)
        print(f"Written: {args.onnx}, {os.path.getsize(args.onnx):,} bytes")
    if args.predict is not None:
        print(predicted(network, args.predict))


def compress(args):
    """Writes the file of a run and prints the tables; returns the network as it is in the file, and its title."""
    run = FinishedRun(args.run)
    if run.task:
        refuse_other_formats(args)
    forms = (Texts if run.task else Images)(run, args.data_dir)
    title = f"{run.title}, {run.summary['method_title']}, {run.summary['dataset_title']}"
    if args.torch:
        write_state(forms.dense, args.torch)
        print(f"Written: {args.torch}, {os.path.getsize(args.torch):,} bytes")
    values = args.values or choose(forms)
    content = container.dumps(forms.compacted, values)
    path = args.output or os.path.join(args.run, "network.safetensors")
    network = container.loads(content, path)
    with files.atomic_write(path) as file:
        file.write(content)
    # The matrix that whitens is a part of the network; a mean image moves into biases.
    preprocessing = getattr(network, "preprocessing", None) or {}
    whitening = [array for name, array in preprocessing.items() if name == "whitening"]
    size_of_whitening = 4 * sum(array.size for array in whitening)
    plain = b"".join(np.ascontiguousarray(array, "<f4").tobytes()
                     for array in (*forms.dense.arrays.values(), *whitening))
    scores = {name: forms.score(name, *form) for name, form in {**forms.forms, "file": (network,)}.items()}
    rows = [("dense, pruned weights 0, float32", len(plain), scores["dense"]),
            ("the same, gzipped", len(gzip.compress(plain, 9, mtime=0)), scores["dense"]),
            ("compacted, float32", 4 * sum(array.size for array in forms.compacted.arrays.values()) + size_of_whitening,
             scores["compact"])]
    if "sparse" in scores:
        rows.append(("compacted, sparse (CSR) in memory", _csr_bytes(forms.compacted) + size_of_whitening,
                     scores["sparse"]))
    rows.append((f"{os.path.basename(path)}, {_title(values)}", len(content), scores["file"]))
    print(f"\n{title}, error of the run {run.summary['test_error_percent']:.2f} %\n")
    print(tabulate([(name, f"{size:,}", f"{len(plain) / size:.1f}x", *score) for name, size, score in rows],
                   ("Form", "Bytes", "Smaller", *forms.headers), disable_numparse=True,
                   colalign=("left", *["right"] * (2 + len(forms.headers)))))
    print(f"\nWeights kept: {sum(run.summary['nonzero'].values()):,} of {sum(run.summary['weights'].values()):,}, "
          f"the paper's compression {tables.format_compression(run.summary['compression'])}")
    for line in forms.remarks(network):
        print(line)
    print(f"\nWritten: {path}, {len(content):,} bytes")
    return network, title


class Images:
    """A run on images: the network before and after compaction, and how good its forms are.

    `forms` : {name: what `score` takes beside it}; `headers` : of what `score` gives.
    """

    headers = ("Error %",)
    #: What `loss` may grow by in a smaller file: errors among 100.
    allowed = ALLOWED

    def __init__(self, run, data_dir):
        self.dense = run.exported(data_dir, CLASSES.get(run.summary["dataset"], ()))
        raw = run.raw_dataset(data_dir)
        self._train, self._test = raw.train, raw.test
        self._compacted = compact(self.dense)
        self.compacted = self._compacted.network
        self.forms = {"dense": (self.dense,), "compact": (self.compacted,), "sparse": (self.compacted, True)}
        self._outputs = {}

    def loss(self, network):
        """The percentage of errors on the last training images."""
        return _wrong_percent(network.predict(self._train.inputs[-HELD_OUT:]), self._train.targets[-HELD_OUT:])

    def score(self, name, network, sparse=False):
        """Cells of a table: the error on the test set."""
        self._outputs[name] = output = network.predict(self._test.inputs, sparse=sparse)
        return [f"{_wrong_percent(output, self._test.targets):.2f}"]

    def remarks(self, network):
        """Lines on what is left, and on how far predictions are apart."""
        found = self._compacted
        return [f"Units: {'-'.join(map(str, found.units_before))}, left {'-'.join(map(str, found.units))}",
                _multiplications("an image", self),
                *(f"Dense and {name}: {difference(self._outputs['dense'], self._outputs[name])}"
                  for name in ("compact", "sparse"))]


class Texts:
    """The same of a run on a text or documents."""

    def __init__(self, run, data_dir):
        self._data_dir, self._streams = data_dir, run.settings["training"]["batch_size"]
        self._examples = run.texts(data_dir)
        self.dense = run.exported_texts(self._examples, CLASSES.get(run.summary["dataset"], ()))
        self._documents = self.dense.task == "documents"
        self.allowed = ALLOWED if self._documents else ALLOWED_BITS
        self.headers = ("Error %",) if self._documents else ("Error %", "Bits a token")
        self._valid, self._test = (self._in_order(split) for split in (self._examples.valid, self._examples.test))
        self.compacted = compact_text(self.dense)
        if self._documents:
            without = compact_text(pruned_as_unknown(self.dense))
            fewer = len(without.vocabulary) < len(self.compacted.vocabulary)
            if fewer and self.loss(without) <= self.loss(self.compacted) + self.allowed + ROUNDING:
                self.compacted = without
        self.forms, self._outputs = {"dense": (self.dense,), "compact": (self.compacted,)}, {}

    def _in_order(self, split):
        """Inputs and targets; of streams, one row for each."""
        if not isinstance(split, Streams):
            return split.inputs, split.targets
        return [np.concatenate(part, axis=1) for part in zip(*split.batches(self._streams, None))]

    def loss(self, network):
        """The percentage of errors on validation documents, or bits a token of the validation text."""
        nll, error = network.evaluate(*self._known(network, self._valid))
        return error if self._documents else bits(nll)

    def score(self, name, network):
        """Cells of a table: the error on the test documents or text, and bits a token of a text."""
        tokens, targets = self._known(network, self._test)
        if self._documents:
            self._outputs[name] = output = network.probabilities(tokens)
            return [f"{_wrong_percent(output, targets):.2f}"]
        few = network.probabilities(tokens[:, :max(1, COMPARED // (len(tokens) * len(self._examples.vocabulary)))])
        self._outputs[name] = few.reshape(-1, few.shape[-1])
        nll, error = network.evaluate(tokens, targets)
        return [f"{error:.2f}", f"{bits(nll):.4f}"]

    def remarks(self, network):
        """Lines on what is left, and on how far predictions are apart."""
        before, left = ({**network.units, "gates": network.gates} for network in (self.dense, self.compacted))
        names = ("words", "dimensions", "neurons", "gates") if self._documents else ("neurons", "gates")
        apart = difference(self._outputs["dense"], self._outputs["compact"],
                           "documents" if self._documents else "tokens")
        found = ["Left: " + ", ".join(f"{left[name]:,} of {before[name]:,} {name}" for name in names),
                 _multiplications("a token", self), f"Dense and compact: {apart}"]
        if self._documents:
            raw = data.DOCUMENTS[self._examples.id](self._data_dir).test
            error = _wrong_percent(network.predict(raw.inputs), raw.targets)
            found.append(f"From their texts, where rare words are unknown ones, the file has {error:.2f} % of the test "
                         "documents wrong")
        if self.dense.task == "characters":
            inputs, targets = self._test
            text = np.column_stack([inputs, targets[:, -1]]).ravel()
            length = len(text) // PIECES
            text = text[:PIECES * length].reshape(PIECES, length)
            nll, _ = network.evaluate(text[:, :-1], text[:, 1:])
            found.append(f"Read in {PIECES} pieces of {length:,} characters, the test text takes it {bits(nll):.4f} "
                         "bits a character")
        return found

    def _known(self, network, split):
        """The same by the network's ids."""
        inputs, targets = split
        return network.ids(self._examples.vocabulary)[inputs], targets


def choose(forms):
    """The value of `VALUES` that makes the smallest file as good as the network by the forms' `loss`."""
    most = forms.loss(forms.dense) + forms.allowed + ROUNDING
    contents = []
    for values in VALUES:
        with contextlib.suppress(UserError):    # numbers that are too large for the form
            contents.append((container.dumps(forms.compacted, values), values))
    contents.sort(key=lambda item: len(item[0]))
    for content, values in contents:
        if forms.loss(container.loads(content)) <= most:
            return values
    return "float32"


def predicted(network, source):
    """What a network says of a picture, or of a text, as text."""
    if not isinstance(network, TextNetwork):
        output = network.predict(read_picture(source, network.input_shape)[np.newaxis])[0]
    elif network.task == "documents":
        output = network.predict([source])[0]
    else:
        between = " " if network.task == "words" and source and not source.endswith("\n") else ""
        # A stranger's tokens may be a terminal's commands.
        return source + between + "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd"
                                          for sign in network.generate(WRITTEN, source))
    best = [f"{network.classes[number]} ({100 * output[number]:.1f} %)" for number in np.argsort(-output)[:3]]
    return f"{source}: {best[0]}, then {', '.join(best[1:])}"


def refuse_other_formats(args):
    """`UserError` if what is asked for is made of networks of images alone."""
    if args.c or args.onnx or args.torch:
        raise UserError(f"{args.run} is of a network of texts: --c, --onnx and --torch take networks of images")


def difference(one, other, inputs="images"):
    """How far two arrays of probabilities, a row for each of some inputs, are apart, as text."""
    best = np.sort(one, axis=1)[:, -2:]
    other_class = one.argmax(axis=1) != other.argmax(axis=1)
    close = best[:, 1] - best[:, 0] < CLOSE
    return (f"probabilities differ by at most {np.abs(one - other).max():.1e}; of {len(one):,} {inputs} "
            f"{(other_class & ~close).sum()} have another class, {close.sum()} are undecided to {CLOSE:g}")


def _multiplications(what, forms):
    dense, compacted = forms.dense, forms.compacted
    return (f"Multiplications {what}: {dense.multiplications():,}, compacted {compacted.multiplications():,}, "
            f"sparse {compacted.multiplications(sparse=True):,}")


def _wrong_percent(output, targets):
    return 100 * float(np.mean(output.argmax(axis=1) != targets))


def _title(values):
    return f"shared values of {values} bits" if values.isdigit() else values


def _csr_bytes(network):
    """Values and indices of 4 bytes each, the rows' beginnings, and all else as it is."""
    weights = network.weights()
    size = 4 * sum(array.size for name, array in network.arrays.items() if name not in weights)
    for name, array in weights.items():
        outputs = array.shape[1] if array.ndim == 2 else array.shape[0]
        size += 8 * int(np.count_nonzero(array)) + 4 * (outputs + 1)
    return size


if __name__ == "__main__":
    status.main(main)
