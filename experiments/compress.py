"""What a finished run's pruned network is good for: one small file that predicts without Theano, C, ONNX, PyTorch.

    python experiments/compress.py results/RUN                      writes results/RUN/network.safetensors
    python experiments/compress.py results/RUN --values 5           with shared values of 5 bits
    python experiments/compress.py results/RUN --c net.c --onnx net.onnx --torch state.safetensors
    python experiments/compress.py results/RUN --predict digit.png  classifies a picture, drawn on white or on black
    python experiments/compress.py network.safetensors --predict digit.png

Needs the packages of requirements-export.txt. Without --values, the smallest file is taken whose error on the last
training images is no higher than that of the network itself (by over 0.02 points); the test set only reports.
"""

import gzip
import os

import _setup  # noqa: F401  must come first

import numpy as np
from tabulate import tabulate

from experiments.common import status
from experiments.common.finished import FinishedRun
from utils import files, tables
from utils.errors import UserError
from utils.export import compact, container, load
from utils.export.c_file import write_c
from utils.export.coding import VALUES
from utils.export.onnx import write_onnx
from utils.export.picture import read_picture
from utils.export.torch_state import write_state

#: Names of the classes; other data sets have numbers.
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion-mnist": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")}
#: Training images that `choose` looks at, and errors among 100 that a smaller file may bring.
HELD_OUT, ALLOWED = 10000, 0.02
#: Images whose two best classes are closer than this may change their class by rounding.
CLOSE = 1e-5


def main():
    parser = status.Parser("compress", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a finished run, with its weights_pruned.npz; or a file made of one")
    add("--values", choices=VALUES, help="how numbers are kept: as they are, or shared values of 4 to 8 bits (default: "
                                         "the smallest that is as good on training images)")
    add("--output", metavar="FILE", help="the file (default: RUN/network.safetensors)")
    add("--c", metavar="FILE", help="write a C file, too")
    add("--onnx", metavar="FILE", help="write an ONNX model, too")
    add("--torch", metavar="FILE",
        help="write PyTorch's state_dict of the network before compaction, too, as safetensors")
    add("--predict", metavar="IMAGE", help="classify a picture")
    add("--data-dir", metavar="FOLDER",
        help="where data sets lie and are downloaded to (default: $SPARSEVD_DATA, or data/downloads)")
    args = parser.parse_args()
    if os.path.isfile(args.run):
        if args.torch or args.values or args.output:
            raise UserError(f"{args.run} is a file, compressed already: --values, --output and --torch take a run's "
                            "folder")
        network, title = load(args.run), os.path.basename(args.run)
    else:
        network, title = compress(args)
    if args.c:
        write_c(network, args.c, title=title)
        print(f"Written: {args.c}, {os.path.getsize(args.c):,} bytes")
    if args.onnx:
        write_onnx(network, args.onnx)
        print(f"Written: {args.onnx}, {os.path.getsize(args.onnx):,} bytes")
    if args.predict:
        probabilities = network.predict(read_picture(args.predict, network.input_shape)[np.newaxis])[0]
        best = [f"{network.classes[number]} ({100 * probabilities[number]:.1f} %)" for number in
                np.argsort(-probabilities)[:3]]
        print(f"{args.predict}: {best[0]}, then {', '.join(best[1:])}")


def compress(args):
    """Writes the file of a run and prints the tables; returns the network as it is in the file, and its title."""
    run = FinishedRun(args.run)
    title = f"{run.title}, {run.summary['method_title']}, {run.summary['dataset_title']}"
    dense = run.exported(args.data_dir, CLASSES.get(run.summary["dataset"], ()))
    raw = run.raw_dataset(args.data_dir)
    found = compact(dense)
    if args.torch:
        write_state(dense, args.torch)
        print(f"Written: {args.torch}, {os.path.getsize(args.torch):,} bytes")
    values = args.values or choose(found.network, raw.train)
    content = container.dumps(found.network, values)
    path = args.output or os.path.join(args.run, "network.safetensors")
    with files.atomic_write(path) as file:
        file.write(content)
    network = load(path)
    plain = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in dense.arrays.values())
    outputs = {"dense": dense.predict(raw.test.inputs), "compact": found.network.predict(raw.test.inputs),
               "sparse": found.network.predict(raw.test.inputs, sparse=True), "file": network.predict(raw.test.inputs)}
    errors = {name: 100 * float(np.mean(output.argmax(axis=1) != raw.test.targets)) for name, output in outputs.items()}
    rows = [("dense, pruned weights 0, float32", len(plain), errors["dense"]),
            ("the same, gzipped", len(gzip.compress(plain, 9, mtime=0)), errors["dense"]),
            ("compacted, float32", 4 * sum(array.size for array in found.network.arrays.values()), errors["compact"]),
            ("compacted, sparse (CSR) in memory", _csr_bytes(found.network), errors["sparse"]),
            (f"{os.path.basename(path)}, {_title(values)}", len(content), errors["file"])]
    print(f"\n{title}, error of the run {run.summary['test_error_percent']:.2f} %\n")
    print(tabulate([(name, f"{size:,}", f"{len(plain) / size:.1f}x", f"{error:.2f}") for name, size, error in rows],
                   ("Form", "Bytes", "Smaller", "Error %"), colalign=("left", "right", "right", "right"),
                   disable_numparse=True))
    compression = run.summary["compression"]
    print(f"\nWeights kept: {sum(run.summary['nonzero'].values()):,} of {sum(run.summary['weights'].values()):,}, "
          f"the paper's compression {'all pruned' if compression is None else tables.format_compression(compression)}")
    print(f"Units: {'-'.join(map(str, found.units_before))}, left {'-'.join(map(str, found.units))}")
    print(f"Multiplications an image: {dense.multiplications():,}, compacted {found.network.multiplications():,}, "
          f"sparse {found.network.multiplications(sparse=True):,}")
    for name in ("compact", "sparse"):
        print(f"Dense and {name}: {difference(outputs['dense'], outputs[name])}")
    print(f"\nWritten: {path}, {len(content):,} bytes")
    return network, title


def choose(network, train):
    """The value of `VALUES` that makes the smallest file as good as the network, on the last training images."""
    inputs, targets = train.inputs[-HELD_OUT:], train.targets[-HELD_OUT:]

    def error(network):
        return 100 * np.mean(network.predict(inputs).argmax(axis=1) != targets)
    most = error(network) + ALLOWED
    contents = sorted(((container.dumps(network, values), values) for values in VALUES), key=lambda item: len(item[0]))
    for content, values in contents:
        if error(container.loads(content)) <= most:
            return values
    return "float32"


def difference(one, other):
    """How far two arrays of probabilities are apart, as text."""
    best = np.sort(one, axis=1)[:, -2:]
    other_class = one.argmax(axis=1) != other.argmax(axis=1)
    close = best[:, 1] - best[:, 0] < CLOSE
    return (f"probabilities differ by at most {np.abs(one - other).max():.1e}; of {len(one):,} images "
            f"{(other_class & ~close).sum()} have another class, {close.sum()} are undecided to {CLOSE:g}")


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
