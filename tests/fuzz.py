"""Damaged files for every reader: each is read, or refused by one line; nothing is executed, no size is trusted.

    python tests/fuzz.py --n 10000                        so many damaged files for each reader; a table
    python tests/fuzz.py --reader config.json --n 500     for some of them
    python tests/fuzz.py --reader config.json --only 17   the one of that number alone, with its traceback

The seed is fixed: the damage of a number is always the same. Exit status 1 if one of the claims does not hold.
"""

import argparse
import contextlib
import copy
import gzip
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import namedtuple
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "experiments"))

import numpy as np

import nets  # noqa: F401  prepares Theano
import samples
import theano
from data import ag_news, archives, bible, cifar, penn_treebank, preprocessing, reviews
from experiments import paper_tables
from experiments.common import cli
from experiments.common.finished import FinishedRun
from experiments.lenet_300_100 import EXPERIMENT
from nets.training import state
from utils import export, files, original_format, pictures, results, runs, theano_setup
from utils.errors import UserError
from utils.export import coding, container, picture
from utils.page.records import Limits, Record

#: What no damaged file may cost.
MOST_SECONDS, MOST_MIB = 2.0, 1024
#: Python's audit events that say that something is executed.
EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen",
          "ctypes.dlopen", "socket.connect", "pty.spawn")

#: name : str; place : the file, in a run's folder or alone; make(folder) writes it; read(path) reads it;
#: damage(content, rng) -> bytes
Reader = namedtuple("Reader", "place make read damage")
Found = namedtuple("Found", "read refused tracebacks executed mebibytes seconds")


# Damage to bytes

INTERESTING = [b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"4294967295", b"-2147483648", b"9" * 40, b"1" * 5000,
               b"99999999999999999999", b"'", b"\"", b"\\", b"\0", b"\n", b"[" * 3000, b"\xff\xfe", b"\xed\xa0\x80"]


def damage_bytes(content, rng):
    """A few of: cut, bits turned over, bytes put in, taken out, overwritten, doubled, numbers replaced."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        place, length = rng.randrange(len(content) + 1), rng.choice([1, 2, 4, 8, 100])
        kind = rng.randrange(8)
        if kind == 0:
            del content[place:]
        elif kind in (1, 2) and place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 3:
            content[place:place] = rng.choice(INTERESTING)
        elif kind == 4:
            del content[place:place + length]
        elif kind == 5:
            content[place:place + length] = rng.choice([b"\0", b"\xff", bytes([rng.randrange(256)])]) * length
        elif kind == 6:
            content[place:place] = content[place:place + length]
        else:
            digits = [i for i, byte in enumerate(content[:100_000]) if 48 <= byte < 58]
            if digits:
                start = rng.choice(digits)
                content[start:start + 1] = rng.choice(INTERESTING)
    return bytes(content)


def sometimes(chance, damage, otherwise=damage_bytes):
    return lambda content, rng: (damage if rng.random() < chance else otherwise)(content, rng)


# Damage to what formats say

VALUES = [None, True, False, 0, 1, -1, 2 ** 31, 2 ** 63, 2 ** 70, -5, 0.5, 1e308, "", "x", "1", "../../etc/passwd",
          "a" * 2000, "\ud800", "\u2028<b>", [], {}, [[]], [None], {"": None}, {"schedule": "LinearDecay"},
          {"schedule": []}, [1, 2, 3], {"name": []}, "nan", "sparse-vd", 3, 99, 1e-300]


def damage_value(value, rng):
    """A value of JSON's types with a node replaced, removed, added, renamed, doubled or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 2, 4])):
        nodes = [(None, None)]
        todo = [value]
        while todo:
            node = todo.pop()
            if isinstance(node, (dict, list)):
                for key in list(node) if isinstance(node, dict) else range(len(node)):
                    nodes.append((node, key))
                    todo.append(node[key])
        node, key = rng.choice(nodes)
        if node is None:
            value = rng.choice([copy.deepcopy(rng.choice(VALUES)), value, [value], {"x": value}])
            continue
        kind = rng.randrange(6)
        if kind < 3:
            node[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 3:
            del node[key]
        elif kind == 4 and isinstance(node, dict):
            node[rng.choice(["format", "x", "name", str(key) * 2])] = node.pop(key)
        else:
            other, at = rng.choice(nodes)
            if other is not None:
                with contextlib.suppress(LookupError):
                    node[key] = json.loads(json.dumps(other[at]))
    return value


def damage_json(content, rng):
    text = json.dumps(damage_value(json.loads(content), rng))
    if rng.random() < 0.1:
        text = text.replace(":", f": {rng.choice(['NaN', 'Infinity', '-Infinity', '1e400'])} , \"x\":", 1)
    return text.encode("utf-8", "surrogatepass")


def damage_cells(content, rng):
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice([1, 1, 2])):
        row = rng.choice(rows)
        kind = rng.randrange(5)
        if kind == 0:
            row.pop()
        elif kind == 1:
            rows.remove(row)
            rows = rows or [[]]
        elif kind == 2:
            rows.append(list(row))
        elif row:
            row[rng.randrange(len(row))] = rng.choice(["", "nan", "inf", "-1", "x", "1e999", "\"", "1" * 200_000,
                                                       "101"])
    return "\n".join(map(",".join, rows)).encode()


def damage_members(content, rng):
    """An npz whose checksums are right and whose members are not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    kind = rng.randrange(6)
    if kind < 3:
        start = members[name][:128]
        members[name] = damage_bytes(start, rng) + members[name][128:]
    elif kind == 3:
        shape = rng.choice(["(1000000000000,)", "(-1,)", "(4294967296, 4294967296)", "()", "(0, 9999999999999)",
                            "(1" + ", 1" * 60 + ")"])
        descr = rng.choice(["'<f4'", "'<U-5'", "'<U999999999'", "'<U0'", "'|O'", "'|V8'", "[('a', '<f4')]", "'<f16'",
                            "'<c8'", "'|S4'", "'>f4'", "'<M8[s]'"])
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        members[name] = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + rng.randbytes(rng.randrange(100))
    elif kind == 4:
        members[rng.choice(["../x.npy", "x", "x.npy", "\n.npy", "param/dense1.W.npy"])] = members.pop(name)
    else:
        array = np.frombuffer(bytearray(members[name][128:]), np.uint8)
        values = array[:len(array) // 4 * 4].view(np.float32)
        if len(values):
            values[rng.randrange(len(values))] = rng.choice([np.nan, np.inf, -np.inf])
        members[name] = members[name][:128] + array.tobytes()
    return samples.wheel(members, rng.choice([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))


def damage_npz(content, rng):
    if rng.random() < 0.01:
        return samples.wheel({"dense1.W.npy": BOMB})
    return sometimes(0.6, damage_members)(content, rng)


#: Five of it are more than what is read of any file.
BOMB = bytes(2 ** 26)


def damage_checkpoint(content, rng):
    if rng.random() < 0.5:
        return damage_npz(content, rng)
    arrays, meta = samples.checkpoint()
    text = json.dumps(damage_value(meta, rng)).encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
    file = io.BytesIO()
    np.savez(file, **arrays,
             meta=rng.choice([np.array(text), np.array(text), np.array([text]), np.array(text.encode()[:50])]))
    return file.getvalue()


def damage_container(content, rng):
    """A network's file whose checksum is right and whose architecture is not."""
    if rng.random() < 0.4:
        return damage_bytes(content, rng)
    reading = container.require("safetensors.numpy")
    arrays = {name: np.asarray(array).tobytes() for name, array in reading.load(content).items()}
    if rng.random() < 0.7:
        architecture = damage_value(json.loads(container._inflated(arrays["architecture"])), rng)
        arrays["architecture"] = container._deflated(json.dumps(architecture))
    else:
        name = rng.choice(sorted(arrays))
        arrays[name] = damage_bytes(arrays[name], rng)
    order = [name for name in ("architecture", "vocabulary", "code", "values", "whitening") if name in arrays]
    format = container.TEXT_FORMAT if "vocabulary" in arrays else container.FORMAT
    return container._packed({name: arrays[name] for name in order}, format)


def damage_packed(content, rng):
    """A gzip file whose checksum is right and whose content is not; or a bomb of it."""
    if rng.random() < 0.002:
        return gzip.compress(BOMB, 1, mtime=0) * 5
    return gzip.compress(damage_bytes(gzip.decompress(content), rng), 1, mtime=0)


class Hostile:
    """Its pickle asks for a command to be run."""

    def __reduce__(self):
        return os.system, ("true",)


def damage_pickle(content, rng):
    if rng.random() < 0.2:
        bad = pickle.dumps([np.zeros(3), Hostile()], rng.randrange(5))
        return content[:128] + bad
    if rng.random() < 0.2:
        place = rng.randrange(128, len(content))
        inside = rng.choice([b"r\xff\xff\xff\x7f", b"cos\nsystem\n(S'true'\ntR", b"c__builtin__\neval\n",
                             b"\x8e" + b"\xff" * 8, b"B\xff\xff\xff\x7f", b"p2147483647\n", b"}", b"2", b"(d"])
        return content[:place] + inside + content[place:]
    return damage_bytes(content, rng)


# The readers

def sample_run(folder):
    samples.write_run(folder)


def read_config(path):
    folder = os.path.dirname(path)
    runs.read_config(folder)
    _as_far_as_it_goes(lambda: Record(folder).details(Limits(1)), lambda: FinishedRun(folder).method(),
                       lambda: cli.parse(EXPERIMENT, "", ["--resume", folder]).sections(), lambda: _opened(folder))


def _opened(folder):
    """What `--resume` does with the folder's files. The run itself writes to them, so a copy of them is opened."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as copy:
        for name in ("config.json", "checkpoint.npz"):
            shutil.copy(os.path.join(folder, name), copy)
        run = runs.Run(copy, samples.CONFIG, resume=True)
        try:
            arrays, _, history, generator = run.checkpoint
            np.random.default_rng(1).bit_generator.state = generator
            run.write_history(history)
            known, _ = samples.checkpoint()
            state.set_values({name: theano.shared(array) for name, array in known.items()}, arrays, copy)
        finally:
            run.close()


def _as_far_as_it_goes(*calls):
    """All of them, each of which may refuse."""
    refused = None
    for call in calls:
        try:
            call()
        except UserError as error:
            refused = error
    if refused:
        raise refused


def read_results(path):
    """Whatever shows runs."""
    folder = os.path.dirname(path)

    def tables():
        groups = results.collect(os.path.dirname(folder))
        for _, _, rows_of in paper_tables.TABLES.values():
            rows_of(groups)
        for group in groups:
            paper_tables.measured_row(group), paper_tables.baselines(group)
    _as_far_as_it_goes(lambda: Record(folder).details(Limits(1)), tables, lambda: FinishedRun(folder),
                       lambda: results._read_run(folder))


def read_network(path):
    export.read_run(os.path.dirname(path)).predict(np.zeros((1, 1, 2, 5)))


def read_container(path):
    network = container.load(path)
    network.predict(np.zeros((1, *network.input_shape)))


def read_text_container(path):
    container.load(path).predict(["w4 w5"])


def read_log(path):
    _as_far_as_it_goes(lambda: original_format.read_log(path), lambda: original_format.read_final_error(path))


def read_theanorc(path):
    with mock.patch.dict(os.environ, THEANORC=path):
        theano_setup.user_flags()


def content_of(path):
    with open(path, "rb") as file:
        return file.read()


def write(name, content):
    def make(folder):
        os.makedirs(folder)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content() if callable(content) else content)
    return make


def network_file(values):
    network = export.ExportedNetwork(samples.LAYERS, samples.arrays(), {"mean": np.zeros((1, 2, 5), "float32")})
    return container.dumps(network, values)


def original_weights():
    values = np.empty(4, dtype=object)
    values[:] = list(samples.arrays().values())
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


LOG = b"""lr: 0.001

epo        upd       lr  beta    tr_loss      tr_nll  tr_acc    te_loss     te_nll  te_acc        reg    rw  ard  sec
000/200    600  1.0e-03  '0.90   '21426.352  -3.6e+01  '0.893   '1354.124  -1.4e+01  '0.958   0.0e+00  '0.25  [0.2] 4
001/200    600  1.0e-03  '0.90   '21426.352  -3.6e+01  '0.903   '1354.124  -1.4e+01  '0.958   0.0e+00  '0.25  [0.2] 4

acc 98.08000183105469 compr_w = 0.97, compr_full = 0.94
"""


def idx_file():
    return gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", 3, 4, 5) + bytes(range(60)), mtime=0)


def cifar_archive():
    return samples.tar_of({f"folder/{name}": bytes(2 * 3073) for name in ("train.bin", "test.bin")})


def read_archive(path):
    found = archives.untar(content_of(path), "folder", ("train.bin", "test.bin"), path)
    for name, content in found.items():
        cifar.parse_records(content, name, 1, 0, 10)


def wheel():
    return samples.wheel({"table.csv": samples.table(reviews.HEADER, ("a film", 1, "imdb"), ("x\n\"y\"", 0, "imdb"))})


def damage_wheel(content, rng):
    """A zip archive whose checksum is right and whose table is not; or a bomb of it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        table = archive.read("table.csv")
    return samples.wheel({"table.csv": BOMB * 5 if rng.random() < 0.002 else damage_bytes(table, rng)})


def read_wheel(path):
    reviews.parse(archives.unzip(content_of(path), ("table.csv",), path)["table.csv"], path)


def many_files():
    return samples.tar_of({f"folder/{number}.txt": b"a film" for number in range(5)})


def png():
    from PIL import Image
    Image.init()    # its readers of all formats
    file = io.BytesIO()
    pixels = np.full((12, 12), 255, np.uint8)
    pixels[3:9, 5:7] = 0
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


READERS = {
    "config.json": Reader("config.json", sample_run, read_config, sometimes(0.8, damage_json)),
    "summary.json": Reader("summary.json", sample_run, read_results, sometimes(0.8, damage_json)),
    "history.csv": Reader("history.csv", sample_run, read_results, sometimes(0.5, damage_cells)),
    "baselines.json": Reader("baselines.json", sample_run, read_results, sometimes(0.8, damage_json)),
    "gradient_variance.json": Reader("gradient_variance.json", sample_run, read_results, sometimes(0.8, damage_json)),
    "thresholds.json": Reader("thresholds.json", sample_run, read_results, sometimes(0.8, damage_json)),
    "checkpoint": Reader("checkpoint.npz", sample_run, lambda path: _opened(os.path.dirname(path)), damage_checkpoint),
    "weights": Reader("weights_pruned.npz", sample_run, read_network, damage_npz),
    "network.json": Reader("network.json", sample_run, read_network, sometimes(0.8, damage_json)),
    "preprocessing": Reader("preprocessing.npz", sample_run, lambda path: (
        preprocessing.from_arrays(files.read_arrays(path)), read_network(path)), damage_npz),
    "snapshots": Reader("snapshots/epoch-0000.npz", sample_run, lambda path: pictures.kept(os.path.dirname(path)),
                        damage_npz),
    "compressed network": Reader("network.safetensors", write("network.safetensors", lambda: network_file("float32")),
                                 read_container, damage_container),
    "the same, shared values": Reader("network.safetensors", write("network.safetensors", lambda: network_file("5")),
                                      read_container, damage_container),
    "compressed network of texts": Reader(
        "network.safetensors", write("network.safetensors", lambda: container.dumps(
            samples.text_network("documents", 1), "5")), read_text_container, damage_container),
    "original's weights": Reader("w.npy", write("w.npy", original_weights), original_format.read_weights,
                                 damage_pickle),
    "original's log": Reader("log.txt", write("log.txt", LOG), read_log, damage_bytes),
    "idx": Reader("images.gz", write("images.gz", idx_file), lambda path: archives.parse_idx(
        archives.gunzip(content_of(path), path), path), sometimes(0.6, damage_packed)),
    "archive": Reader("data.tar.gz", write("data.tar.gz", cifar_archive), read_archive, sometimes(0.6, damage_packed)),
    "archive of many files": Reader("data.tar.gz", write("data.tar.gz", many_files), lambda path: (
        archives.untar_matching(content_of(path), r"folder/\d\.txt", path)), sometimes(0.6, damage_packed)),
    "wheel": Reader("x.whl", write("x.whl", wheel), read_wheel, sometimes(0.6, damage_wheel)),
    "database": Reader("Bible.db", write("Bible.db", samples.database), lambda path: bible.parse_database(
        content_of(path), path), damage_bytes),
    "articles": Reader("train.csv", write("train.csv", lambda: samples.table((1, "Title", "Text"), (4, "", "\"x\""))),
                       lambda path: ag_news.parse(content_of(path), path), damage_bytes),
    "treebank": Reader("ptb.train.txt", write("ptb.train.txt", b" a <unk> cat \n the dog \n" * 9),
                       lambda path: penn_treebank.parse(content_of(path), path), damage_bytes),
    "picture": Reader("digit.png", write("digit.png", png), lambda path: picture.read_picture(path, (1, 28, 28)),
                      damage_bytes),
    "theanorc": Reader("theanorc", write("theanorc", b"[global]\nfloatX = float32\n[blas]\nldflags = -lm\n"),
                       read_theanorc, damage_bytes),
}


def offered():
    """The readers whose packages are installed."""
    names = list(READERS)
    try:
        coding.Writer(), container.require("safetensors.numpy")
    except UserError:
        names = [name for name in names if "network.safetensors" not in READERS[name].place]
    return names


# Running them

def run(name, numbers, seed=1, show=False):
    """What a reader does with the damaged files of the given numbers, a :class:`Found`; in a process of its own."""
    here, there = multiprocessing.get_context("fork").Pipe(False)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(there, name, numbers, seed, show))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        process.join()
        return Found(0, 0, [f"the process ended with status {process.exitcode}"], [], 0.0, 0.0)
    finally:
        process.join()


def _run(pipe, name, numbers, seed, show):
    reader, executed, tracebacks = READERS[name], [], []
    watched = [False]

    def hook(event, arguments):
        if not watched[0]:
            return
        if event in EVENTS or event == "exec" and not os.path.exists(getattr(arguments[0], "co_filename", "")) \
                and not getattr(arguments[0], "co_filename", "").startswith("<frozen"):
            executed.append(f"{event} {str(arguments)[:100]}")
    counts, slowest = [0, 0], 0.0
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run_folder = os.path.join(folder, "runs", "run")
        os.makedirs(os.path.dirname(run_folder))
        reader.make(run_folder)
        path = os.path.join(run_folder, reader.place)
        content = content_of(path)
        reader.read(path)       # imports what it needs
        sys.addaudithook(hook)
        signal.signal(signal.SIGALRM, _too_long)
        if not show:
            os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
        before = _reset_peak()
        # Memory that is asked for in vain is an error too.
        limit = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (_virtual() + MOST_MIB * 2 ** 20, limit))
        for number in numbers:
            damaged = reader.damage(content, random.Random(f"{seed} {name} {number}"))
            with open(path, "wb") as file:
                file.write(damaged)
            began = time.process_time()
            signal.alarm(60)
            watched[0] = True
            try:
                reader.read(path)
                counts[0] += 1
            except UserError as error:
                counts[1] += 1
                if show:
                    print(f"refused: {error}")
                if len(str(error).splitlines()) != 1:
                    tracebacks.append(f"{number}: {str(error)!r} is not one line")
            except BaseException as error:
                tracebacks.append(f"{number}: {type(error).__name__}: {str(error)[:200]}")
                if show:
                    traceback.print_exc()
            finally:
                watched[0] = False
                signal.alarm(0)
            slowest = max(slowest, time.process_time() - began)
        pipe.send(Found(*counts, tracebacks, executed, (_peak() - before) / 1024, slowest))


def _too_long(number, frame):
    raise TimeoutError("more than a minute")


def _status(field):
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith(field)).split()[1])


def _virtual():
    return _status("VmSize") * 1024


def _peak():
    """KiB that the process has had in memory at most."""
    return _status("VmHWM")


def _reset_peak():
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS")


def holds(found):
    """Whether what was found is what the project claims."""
    return not found.tracebacks and not found.executed and found.mebibytes <= MOST_MIB and found.seconds <= MOST_SECONDS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, metavar="N", help="damaged files for each reader")
    parser.add_argument("--reader", nargs="+", choices=offered(), default=offered(), metavar="NAME",
                        help=f"of {', '.join(offered())}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one damaged file, with the traceback")
    args = parser.parse_args()
    from tabulate import tabulate

    rows, bad = [], []
    for name in args.reader:
        found = run(name, range(args.n) if args.only is None else [args.only], args.seed, args.only is not None)
        rows.append((name, found.read, found.refused, len(found.tracebacks), len(found.executed), found.mebibytes,
                     1000 * found.seconds))
        bad += [f"{name}, {text}" for text in (*found.tracebacks, *found.executed)]
        if not holds(found):
            bad.append(f"{name} does not hold")
    print(tabulate(rows, ("Reader", "Read", "Refused", "Tracebacks", "Executed", "MiB at most", "Slowest, ms"),
                   floatfmt=".0f"))
    for text in bad[:50]:
        print(text)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
