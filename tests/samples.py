"""Small files as the project writes them, for tests that damage them."""

import csv
import gzip
import io
import json
import os
import sqlite3
import tarfile
import zipfile

import numpy as np

from utils import files, runs
from utils.export.texts import TextNetwork, text_shapes

SETTINGS = {"experiment": "lenet_300_100", "network": "lenet-300-100", "network_title": "LeNet-300-100", "k": 1.0,
            "method": {"name": "sparse-vd", "threshold": 3.0, "kl_warm_up": True,
                       "warm_up": {"schedule": "LinearWarmUp", "begin": 5.0, "end": 20.0}},
            "dataset": {"name": "digits", "title": "digits", "fingerprint": "0" * 64, "augment": False},
            "training": {"epochs": 3, "batch_size": 100, "seed": 1, "l2": 0.0, "plain_graph": False, "learning_rate": {
                "schedule": "LinearDecay", "initial": 1e-3, "begin": 1.0, "end": 3.0}},
            "start": {"name": "random", "title": "random", "init_from": None, "pretrain": None}}
CONFIG = {"format": runs.FORMAT, "settings": SETTINGS, "environment": {"threads": "2", "device": "cpu"},
          "command": "experiments/lenet_300_100.py --dataset digits --epochs 3", "version": "1.0",
          "git_commit": "0" * 40, "started": "2026-11-24 10:00:00 +0000"}
SUMMARY = {"format": runs.FORMAT, "experiment": "lenet_300_100", "network": "lenet-300-100", "k": 1.0,
           "network_title": "LeNet-300-100", "method": "sparse-vd", "method_title": "SparseVD", "prunes": True,
           "dataset": "digits", "dataset_title": "digits", "random_labels": False, "validation": None,
           "start": "random", "start_title": "random", "seed": 1, "epochs": 3, "flags": {"threshold": 2.0},
           "flags_shown": "--threshold 2", "threshold": 2.0, "test_error_percent": 4.5, "train_error_percent": 3.5,
           "test_nll": 0.3, "final_train_error_percent": 2.5, "sparsity_percent": {"dense1": 75.0, "dense2": 50.0},
           "nonzero": {"dense1": 10, "dense2": 6}, "weights": {"dense1": 40, "dense2": 12},
           "sparsity_percent_total": 69.2, "compression": 3.25, "compression_by_layer": {"dense1": 4.0, "dense2": 2.0},
           "structure": {"units": {"before": [10, 4], "left": [8, 2]}, "weights": {"before": 52, "left": 22},
                         "multiplications": {"before": 52, "left": 22}}, "seconds": 3.5, "git_commit": "0" * 40}
HISTORY = [{"epoch": epoch, "learning_rate": 1e-3, "kl_weight": 0.5, "train_loss": 1 / epoch, "test_loss": 1.2 / epoch,
            "train_nll": 0.9 / epoch, "test_nll": 1.1 / epoch, "train_error_percent": 9.0 / epoch,
            "test_error_percent": 10.0 / epoch, "kl": 100.0, "sparsity_percent_dense1": 75.0,
            "sparsity_percent_dense2": 50.0, "compression": 3.25, "seconds": 0.5} for epoch in (1, 2, 3)]
LAYERS = [{"kind": "input", "name": "input", "shape": [1, 2, 5]},
          {"kind": "dense", "name": "dense1", "shape": [4], "nonlinearity": "rectify"},
          {"kind": "dense", "name": "dense2", "shape": [3], "nonlinearity": "softmax"}]


def summary(**values):
    """A summary of other results, of the layers of `sparsity_percent`."""
    layers = list(values.get("sparsity_percent", SUMMARY["sparsity_percent"]))
    own = {"nonzero": dict.fromkeys(layers, 5), "weights": dict.fromkeys(layers, 20),
           "compression_by_layer": dict.fromkeys(layers, 4.0)}
    return {**SUMMARY, **own, **values}


def write_history(folder, rows):
    """A `history.csv` with these values of some columns in its rows."""
    rows = [{**HISTORY[0], "epoch": number, **row} for number, row in enumerate(rows, 1)]
    with open(os.path.join(folder, "history.csv"), "w") as file:
        file.write("\n".join(",".join(map(str, row)) for row in (rows[0], *(row.values() for row in rows))) + "\n")


def text_network(task, seed, words=20, neurons=7, length=14, vocabulary=None, pattern=r"\w+"):
    """A :class:`utils.export.TextNetwork` of random weights, of words w3, w4, ..., or of letters."""
    documents = task == "documents"
    special = ("<pad>", "<start>", "<unk>") if documents else ("<eos>", "<w>", "<unk>")
    letters = tuple(chr(ord("a") + number) for number in range(words))
    vocabulary = vocabulary or (letters if task == "characters" else (*special, *(f"w{n}" for n in range(3, words))))
    dimensions, outputs = (6, 3) if documents else (0, words)
    units = {"words": words, "dimensions": dimensions, "neurons": neurons, "outputs": outputs}
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(scale=0.6, size=shape).astype(np.float32)
              for name, shape in text_shapes(task, units).items()}
    return TextNetwork(task, arrays, vocabulary, ["a", "b", "c"] if documents else [], pattern,
                       length if documents else None, documents)


def arrays():
    """Of the network of LAYERS."""
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in (
        ("dense1.W", (10, 4)), ("dense1.b", (4,)), ("dense2.W", (4, 3)), ("dense2.b", (3,)))}


def checkpoint():
    """Its arrays and the meta beside them."""
    state = {f"param/{name}": array for name, array in arrays().items()}
    meta = {"format": runs.FORMAT, "epoch": 3, "settings": SETTINGS, "history": HISTORY,
            "generator": np.random.default_rng(1).bit_generator.state}
    return state, meta


def write_run(folder):
    """A finished run's folder, with everything that a run can leave but pictures."""
    os.makedirs(os.path.join(folder, "snapshots"))
    values = {"config": CONFIG, "summary": SUMMARY, "network": {"format": runs.FORMAT, "layers": LAYERS},
              "baselines": {"L1, scikit-learn": {"test_accuracy": 0.95, "sparsity_percent": 30.0, "C": 1.0}},
              "gradient_variance": {"batch": 100, "draws": 100, "rows": [
                  {"epoch": 0, "layer": "dense1", "additive": 1e-9, "multiplicative": 1e-7}]},
              "thresholds": {"images": "test images", "edges": [-8.0, 0.0, 8.0], "histogram": {"dense1": [3, 4]},
                             "thresholds": [{"threshold": 3.0, "error_percent": 4.0, "compression": None,
                                             "nonzero": 0}]}}
    for name, value in values.items():
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            json.dump(value, file)
    write_history(folder, HISTORY)
    with open(os.path.join(folder, "log.txt"), "w") as file:
        file.write("LeNet-300-100\n")
    rng = np.random.default_rng(3)
    state, meta = checkpoint()
    for name, own in {"weights": arrays(), "weights_pruned": arrays(), "checkpoint": {
            **state, "meta": np.array(json.dumps(meta))}, "preprocessing": {"mean": rng.random((1, 2, 5), "float32")},
            "snapshots/epoch-0000": {"filters": rng.random((4, 1, 2, 5), "float32"),
                                     "dense": rng.random((4, 3), "float32")}}.items():
        files.write_arrays(os.path.join(folder, f"{name}.npz"), own)


# Texts, in the formats of their official files


def database(rows=((1, 1, 1, 1, "1:1 In the  Beginning 1:2 was", "1:3 a Word."), (1, 1, 2, 1, "2:1 And", "an END.")),
             statements=()):
    """The Bible's SQLite file: rows of TestamentID, BookID, ChapterID, VerseID, Passage1, Passage2."""
    with sqlite3.connect(":memory:") as file:
        file.execute("CREATE TABLE Bible(TestamentID INT, BookID INT, ChapterID INT, VerseID INT, Index_ TEXT, "
                     "Passage1 TEXT, Passage2 TEXT)")
        file.executemany("INSERT INTO Bible VALUES (?, ?, ?, ?, '', ?, ?)", rows)
        for statement in statements:
            file.execute(statement)
        file.commit()
        return file.serialize()


def table(*rows):
    """A table in csv, with line ends as on Unix and all cells in quotes."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode()


def wheel(members, compression=zipfile.ZIP_DEFLATED):
    """A zip archive, compressed, of {path: bytes}; no time of the clock's is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def tar_of(members):
    """A gzipped tar archive of {path: bytes}, with the folders that they are in; no time of the clock's is in it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path, content in members.items():
            folder = tarfile.TarInfo(os.path.dirname(path))
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(file.getvalue(), 1, mtime=0)
