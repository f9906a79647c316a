"""One file for a network: architecture, preprocessing, classes, positions and values; safe to read from strangers.

It is a safetensors file (a length, a JSON header, bytes) with arrays of bytes:

- `architecture`: layers, classes, and how numbers are kept, as JSON, deflated; of networks of texts, how many words,
  neurons and so on there are, in place of layers;
- `vocabulary`: of networks of texts, the tokens, each but the first after a zero, deflated;
- `code`: positions of weights and shared values, entropy-coded, see :mod:`utils.export.coding`;
- `values`: all other numbers, float32 or float16;
- `whitening`: half of the symmetric matrix.

Nothing of it is executed, and sizes are checked before memory is taken.
"""

import json
import math
import os
import zlib

import numpy as np

from utils import files
from utils.errors import UserError
from utils.export import coding
from utils.export.arrays import ArrayStream, float_type, in_range
from utils.export.network import WEIGHTED, ExportedNetwork, array_shapes, check
from utils.export.optional import require
from utils.export.texts import TextNetwork, has_no_capitals, text_shapes

__all__ = ["save", "load", "dumps", "loads"]

#: Of networks of images, and of texts.
FORMAT, TEXT_FORMAT = "sparsevd 1", "sparsevd texts 1"
#: Larger files and architectures are refused unread.
LARGEST_FILE, LARGEST_TEXT = 2 ** 29, 2 ** 22
#: Numbers of an image, and units and filters of all layers: decoding takes a step for each.
LARGEST_IMAGE, MOST_UNITS = 2 ** 20, 2 ** 18
#: What nearly every architecture holds, so that deflating it begins with knowing it.
_KNOWN = (b'{"layers":[{"kind":"input","name":"input","shape":[3,32,32]},{"kind":"conv","size":[5,5],"size":[3,3],'
          b'"pad":[1,1],"pad":[0,0],"stride":[1,1],"nonlinearity":"identity","name":"conv1","shape":[20,24,24]},{"kind":'
          b'"max_pool","size":[2,2],"stride":[2,2],"name":"layer2","shape":[50,4,4]},{"kind":"batch_norm","epsilon":0.001,'
          b'"kind":"affine","name":"norm1","scale","shift"{"kind":"flatten","name":"flatten","shape":[784]},{"kind":'
          b'"select","name":"flatten_used","shape":[400]},{"kind":"dense","nonlinearity":"rectify","name":"dense1",'
          b'"shape":[100]},{"kind":"dense","nonlinearity":"softmax","name":"dense3","name":"dense2","shape":[10]}],'
          b'"params":{"conv1":["W","b"],"conv2":["W","b"],"dense1":["W","b"],"dense2":["W","b"],"dense3":["W","b"]},'
          b'"preprocessing":null,"preprocessing":["mean","whitening"],"preprocessing":["mean"],"preprocessing":[],'
          b'"classes":["airplane","automobile"],"classes":["0","1","2","3","4","5","6","7","8","9"],"classes":10,"values":'
          b'"float32","values":"float16","values":"5","values":"4"}')


def save(network, path, values="float32"):
    """Writes a network to a file and returns its size in bytes.

    Parameters
    ----------
    network : :class:`utils.export.network.ExportedNetwork` or :class:`utils.export.texts.TextNetwork`
        is usually compacted before
    path : str
    values : str
        how numbers are kept: float32, float16, or 4 to 8: shared values of so many bits, found for each array
    """
    content = dumps(network, values)
    with files.atomic_write(path) as file:
        file.write(content)
    return len(content)


def load(path):
    """The network in a file, as :func:`save` takes it.

    Raises
    ------
    UserError
        if the file is missing, damaged, not ours, or asks for more memory than a network may.
    """
    try:
        size = os.path.getsize(path)
        if size > LARGEST_FILE:
            raise UserError(f"{path} has {size:,} bytes, a network's file at most {LARGEST_FILE:,}")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); name the file of a compressed network") from None
    return loads(content, path)


def dumps(network, values="float32"):
    """The file's content as bytes; see :func:`save`."""
    if values not in coding.VALUES:
        raise UserError(f"values={values!r} is not one of {', '.join(coding.VALUES)}")
    if isinstance(network, TextNetwork):
        return _packed(_text_arrays(network, values), TEXT_FORMAT)
    return _packed(_image_arrays(network, values), FORMAT)


def _image_arrays(network, values):
    """{name of an array of bytes: its content}."""
    _check_sizes(network.layers)
    layers, params = [], {}
    for layer in network.layers:
        layer = {key: value for key, value in layer.items() if key != "input"}
        if _coded(layer):
            del layer["indices"]
        layers.append(layer)
        prefix = f"{layer['name']}."
        own = [name.removeprefix(prefix) for name in network.arrays if name.startswith(prefix)]
        if own:
            params[layer["name"]] = own
    numbered = network.classes == [str(number) for number in range(len(network.classes))]
    architecture = {"layers": layers, "params": params, "preprocessing": None if network.preprocessing is None else
                    sorted(network.preprocessing), "classes": len(network.classes) if numbered else network.classes,
                    "values": values}
    keep = ArrayStream(values)
    _walk(keep, {**architecture, "layers": network.layers}, network.arrays, network.preprocessing)
    arrays = {"architecture": _deflated(json.dumps(architecture, separators=(",", ":"))), **keep.content()}
    if "whitening" in (network.preprocessing or ()):
        matrix = network.preprocessing["whitening"]
        arrays["whitening"] = in_range("whitening", matrix[np.triu_indices(len(matrix))], float_type(values)).tobytes()
    return arrays


def _check_sizes(layers):
    units = [layer["shape"][0] for layer in layers if layer["kind"] in WEIGHTED]
    if math.prod(layers[0]["shape"]) > LARGEST_IMAGE or sum(units) > MOST_UNITS:
        raise UserError(f"a file is of networks of at most {LARGEST_IMAGE:,} numbers an image and {MOST_UNITS:,} units "
                        "and filters; this one is larger")


def _text_arrays(network, values):
    """The same of a :class:`utils.export.texts.TextNetwork`."""
    architecture = {**{name: getattr(network, name) for name in _TEXT_FIELDS}, "units": network.units, "values": values}
    # The words that are left nearly always tell.
    if network.lower != has_no_capitals(network.vocabulary):
        architecture["lower"] = network.lower
    keep = ArrayStream(values)
    for name in text_shapes(network.task, network.units):
        _text_array(keep, name, network.arrays[name])
    return {"architecture": _deflated(json.dumps(architecture, separators=(",", ":"))),
            "vocabulary": _deflated("\0".join(network.vocabulary)), **keep.content()}


#: What a file holds of a network of texts as it is.
_TEXT_FIELDS = ("task", "classes", "pattern", "length", "hard")


def _text_array(keep, name, array):
    if name.endswith(".b"):
        keep.numbers(name, array)
    else:
        keep.weights(name, array, dense=True)


def _packed(arrays, format):
    check_sum = zlib.crc32(b"".join(arrays.values()))
    metadata = {"format": format, "crc32": f"{check_sum:08x}"}
    content = require("safetensors.numpy").save(
        {name: np.frombuffer(array, np.uint8) for name, array in arrays.items()}, metadata)
    # safetensors writes the two in any order; the same network is to make the same file.
    first, second = (f'"{name}":"{value}"'.encode() for name, value in metadata.items())
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:end].replace(second + b"," + first, first + b"," + second) + content[end:]


def _deflated(text):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_KNOWN)
    return deflate.compress(text.encode()) + deflate.flush()


def _inflated(content):
    inflate = zlib.decompressobj(-15, zdict=_KNOWN)
    text = inflate.decompress(content, LARGEST_TEXT)
    if not inflate.eof:
        raise ValueError("text")
    return text.decode()


def loads(content, path="this"):
    """The network in a file's content; see :func:`load`. `path` is for the text of errors."""
    damaged = UserError(f"{path} is damaged, or not the file of a compressed network; make it again with "
                        "experiments/compress.py")
    reading = require("safetensors.numpy")
    try:
        length = int.from_bytes(content[:8], "little")
        if length > LARGEST_TEXT:
            raise ValueError("header")
        header = json.loads(content[8:8 + length])
        format = header["__metadata__"]["format"]
        if format not in (FORMAT, TEXT_FORMAT):
            raise UserError(f"it is of the format {format!r}, this version reads {FORMAT!r} and {TEXT_FORMAT!r}")
        arrays = {name: np.asarray(array).tobytes() for name, array in reading.load(content).items()}
        order = [name for name in ("architecture", "vocabulary", "code", "values", "whitening") if name in arrays]
        if len(order) < len(arrays) or f"{zlib.crc32(b''.join(arrays[name] for name in order)):08x}" != \
                header["__metadata__"]["crc32"]:
            raise ValueError("checksum")
        return _decoded(arrays) if format == FORMAT else _decoded_text(arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except BaseException as error:
        # The coder's panics are of no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise damaged from None
        raise


def _decoded(arrays):
    architecture = json.loads(_inflated(arrays["architecture"]))
    layers, preprocessing, values = (architecture[name] for name in ("layers", "preprocessing", "values"))
    if values not in coding.VALUES or not set(preprocessing or ()) <= {"mean", "whitening"}:
        raise ValueError("values")
    shapes = array_shapes(layers, architecture["params"])
    keep = ArrayStream(values, arrays)
    # `select` layers need their indices before the layers can be checked; their shapes are checked first.
    check(_with_indices(layers), shapes)
    _check_sizes(layers)
    _walk(keep, architecture, shapes, preprocessing)
    classes = architecture["classes"]
    if isinstance(classes, int):
        classes = [str(number) for number in range(layers[-1]["shape"][0])]
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("classes")
    if preprocessing is not None:
        shape = layers[0]["shape"]
        preprocessing = {"mean": keep.found["mean"]} if "mean" in preprocessing else {}
        if "whitening" in architecture["preprocessing"]:
            pixels = math.prod(shape)
            half = np.frombuffer(arrays["whitening"], float_type(values)).astype(np.float32)
            if len(half) != pixels * (pixels + 1) // 2:
                raise ValueError("whitening")
            matrix = np.zeros((pixels, pixels), np.float32)
            rows, columns = np.triu_indices(pixels)
            matrix[rows, columns] = matrix[columns, rows] = half
            preprocessing["whitening"] = matrix
    return ExportedNetwork(layers, {name: keep.found[name] for name in shapes}, preprocessing, list(classes))


def _decoded_text(arrays):
    architecture = json.loads(_inflated(arrays["architecture"]))
    task, classes, pattern, length, hard = (architecture[name] for name in _TEXT_FIELDS)
    lower = architecture.get("lower")
    if architecture["values"] not in coding.VALUES or type(hard) is not bool or not isinstance(pattern, str) \
            or not isinstance(lower, (bool, type(None))) \
            or not all(isinstance(name, str) for name in classes) or not isinstance(length, (int, type(None))):
        raise ValueError("fields")
    shapes = text_shapes(task, architecture["units"])
    if max(map(max, shapes.values())) > 4 * MOST_UNITS:
        raise ValueError("units")
    keep = ArrayStream(architecture["values"], arrays)
    for name, shape in shapes.items():
        _text_array(keep, name, shape)
    return TextNetwork(task, keep.found, tuple(_inflated(arrays["vocabulary"]).split("\0")), list(classes), pattern,
                       length, hard, lower)


def _with_indices(layers):
    """The layers, with stand-ins for indices that the code holds."""
    found, left = [], LARGEST_IMAGE
    for previous, layer in zip([None, *layers], layers):
        if layer["kind"] == "select" and "indices" not in layer:
            left -= max(previous["shape"][0], layer["shape"][0])
            if layer["shape"][0] < 1 or left < 0:
                raise ValueError("select")
            layer = {**layer, "indices": [0] * layer["shape"][0]}
        found.append(layer)
    return found


def _coded(layer):
    return layer["kind"] == "select" and sorted(set(layer["indices"])) == list(layer["indices"])


def _walk(keep, architecture, given, preprocessing):
    """Writes or reads all numbers of a network, in one order.

    `given` are the arrays when writing, their shapes when reading; the results are in `keep.found`.
    """
    layers = architecture["layers"]
    width = layers[0]["shape"][-1]
    if "mean" in (preprocessing or ()):
        keep.image("mean", preprocessing["mean"] if keep.writing else tuple(layers[0]["shape"]))
    for previous, layer in zip(layers, layers[1:]):
        if len(previous["shape"]) > 1:
            width = previous["shape"][-1]
        if layer["kind"] == "select" and (_coded(layer) if keep.writing else "indices" not in layer):
            keep.selection(layer, previous["shape"][0], width)
        for param in architecture["params"].get(layer["name"], ()):
            name = f"{layer['name']}.{param}"
            if layer["kind"] in WEIGHTED and param == "W":
                keep.weights(name, given[name], layer["kind"] == "dense")
            else:
                keep.numbers(name, given[name])
