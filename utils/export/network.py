"""A network as plain data: a list of layers, arrays by name, and what is done to images before."""

import math
import os
from dataclasses import dataclass, field

import numpy as np

from utils import files, runs, schemas
from utils.errors import UserError
from utils.export import predict

__all__ = ["ExportedNetwork", "read_run", "read_layers", "check", "array_shapes", "output_shape", "WEIGHTED",
           "NONLINEARITIES"]

WEIGHTED = ("dense", "conv")
NONLINEARITIES = ("identity", "rectify", "softmax", "tanh", "sigmoid")
#: What a file may ask for, whoever wrote it: elements of one array or of one image's activations, and layers.
LARGEST, MOST_LAYERS = 2 ** 26, 1000
#: Pixels are divided by this before a preprocessing's mean is subtracted.
PIXEL_SCALE = 256


@dataclass
class ExportedNetwork:
    """A trained network that predicts without Theano.

    Attributes
    ----------
    layers : list of dict
        as :func:`nets.describe.describe` makes them: `input` first, then `dense`, `conv`, `batch_norm`, `max_pool`,
        `flatten`, `nonlinearity`; in a compacted network also `select`, which takes the `indices` along axis 1, and
        `affine`, a scale and a shift by channel
    arrays : dict
        {"layer.W": float32 array, ...}; dense W (inputs, units), conv W (filters, channels, rows, columns), unflipped;
        b (units,); of a batch normalization beta, gamma, mean, inv_std; of an affine layer scale, shift
    preprocessing : dict or None
        what is done to images: `mean` (and `whitening`), as :mod:`data.preprocessing` has them; {} is the division of
        pixels by 256 alone, None nothing at all
    classes : list of str
        their names

    Raises
    ------
    UserError
        if layers and arrays are of no network that can be computed here.
    """

    layers: list
    arrays: dict
    preprocessing: dict | None = None
    classes: list = field(default_factory=list)

    def __post_init__(self):
        check(self.layers, {name: array.shape for name, array in self.arrays.items()})
        outputs = self.layers[-1]["shape"]
        if not self.classes:
            self.classes = [str(number) for number in range(outputs[0])]
        if len(outputs) != 1 or len(self.classes) != outputs[0]:
            raise UserError(f"a network with outputs of shape {outputs} does not have {len(self.classes)} classes")
        if not all(map(str.isprintable, self.classes)):
            raise UserError("a class has a name that cannot be printed")
        for name, array in {**self.arrays, **(self.preprocessing or {})}.items():
            if not np.isfinite(array).all():
                raise UserError(f"{name} holds NaN or infinite numbers")
        for name, shape in _preprocessing_shapes(self.preprocessing, self.input_shape).items():
            if self.preprocessing[name].shape != shape:
                raise UserError(f"the preprocessing's {name} is of shape {self.preprocessing[name].shape}, the images "
                                f"need {shape}")

    @property
    def input_shape(self):
        """(channels, rows, columns) of an image."""
        return tuple(self.layers[0]["shape"])

    def prepare(self, images):
        """What the network sees of images: float32, preprocessed.

        Parameters
        ----------
        images : numpy array
            pixels from 0 to 255, (images, channels, rows, columns); axes of length 1 may be missing
        """
        images = np.asarray(images)
        # One image, or images of one channel.
        size = math.prod(self.input_shape)
        if images.size % size or _squeezed(images.shape) not in (
                _squeezed(self.input_shape), _squeezed((images.size // size, *self.input_shape))):
            raise UserError(f"images of shape {images.shape} do not fit a network for {self.input_shape}")
        images = images.reshape(-1, *self.input_shape).astype(np.float32)
        if self.preprocessing is not None:
            images /= np.float32(PIXEL_SCALE)
            if "mean" in self.preprocessing:
                images -= self.preprocessing["mean"]
            if "whitening" in self.preprocessing:
                flat = images.reshape(len(images), -1) @ self.preprocessing["whitening"]
                images = flat.reshape(images.shape)
        return images

    def predict(self, images, sparse=False):
        """Probabilities of the classes, (images, classes), for images as :meth:`prepare` takes them."""
        return self.probabilities(self.prepare(images), sparse)

    def probabilities(self, inputs, sparse=False):
        """The same for inputs that are prepared already, float32; `sparse` multiplies by weights in CSR form."""
        return predict.forward(self.layers, self.arrays, inputs, sparse)

    def classify(self, images):
        """The name of each image's most probable class."""
        return [self.classes[number] for number in self.predict(images).argmax(axis=1)]

    def weights(self):
        """The arrays that count as weights: {name: array}."""
        return {f"{layer['name']}.W": self.arrays[f"{layer['name']}.W"] for layer in self.layers
                if layer["kind"] in WEIGHTED}

    def multiplications(self, sparse=False):
        """How many an image takes in dense and convolutional layers; `sparse` leaves weights of 0 out."""
        count = 0
        for layer in self.layers:
            if layer["kind"] in WEIGHTED:
                W = self.arrays[f"{layer['name']}.W"]
                places = math.prod(layer["shape"][1:])
                count += places * int(np.count_nonzero(W) if sparse else W.size)
        return count


def read_run(folder, layers=None, preprocessing=None, classes=()):
    """The network of a finished run, pruned weights as 0.

    Parameters
    ----------
    folder : str
    layers : list of dict or None
        None reads the run's network.json
    preprocessing : dict or None
        None reads the run's preprocessing.npz
    classes : list of str

    Raises
    ------
    UserError
        if a file is missing or damaged, or the network is of a kind unknown here.
    """
    layers, arrays = read_layers(folder, layers)
    if preprocessing is None:
        path = os.path.join(folder, "preprocessing.npz")
        preprocessing = files.read_arrays(path)
        # Of a damaged directory, arrays can be missing.
        if set(preprocessing) not in ({"mean"}, {"mean", "whitening"}):
            raise UserError(f"{path} has no arrays mean, or mean and whitening, alone: restore it from a copy")
    return ExportedNetwork(layers, arrays, _as_float32(preprocessing, folder), list(classes))


def read_layers(folder, layers=None):
    """The layers and the pruned weights of a finished run, of whatever kind; parameters and errors as above.

    Returns
    -------
    tuple
        a list of dict, and {"layer.param": float32 array}
    """
    if layers is None:
        layers = described_layers(folder)
    return layers, _as_float32(files.read_arrays(runs.stored(folder, "weights_pruned.npz")), folder)


def described_layers(folder):
    """The layers of a run as its `network.json` has them, a list of dict; UserError if it is missing or damaged."""
    path = os.path.join(folder, "network.json")
    found = files.read_json(path)
    schemas.check_format(found, path)
    return schemas.check(found, schemas.Network, path)["layers"]


def _as_float32(arrays, folder):
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise UserError(f"{folder}: {name} is no array of numbers")
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def array_shapes(layers, params):
    """The shapes of a network's arrays: {"layer.W": tuple}; KeyError, TypeError or ValueError where there is none.

    Parameters
    ----------
    layers : list of dict
    params : dict
        {layer's name: list of its parameters' names}
    """
    found = {}
    for previous, layer in zip(layers, layers[1:]):
        before = _lengths(previous["shape"], 1, 3)
        for param in params.get(layer["name"], ()):
            channels = layer["shape"][0] if layer["kind"] in WEIGHTED else before[0]
            shape = (channels,)
            if param == "W" and layer["kind"] == "dense":
                shape = (math.prod(before), channels)
            elif param == "W":
                shape = (channels, before[0], *layer["size"])
            found[f"{layer['name']}.{param}"] = _lengths(shape, 1, 4)
    return found


def check(layers, shapes):
    """Whether layers and arrays of these shapes make a network; `UserError` says what does not.

    Nothing is computed or taken from memory: files from strangers are checked so before their arrays are made.

    Parameters
    ----------
    layers : list of dict
    shapes : dict
        {name of an array: tuple}
    """
    try:
        if not 2 <= len(layers) <= MOST_LAYERS or layers[0]["kind"] != "input":
            raise ValueError("they are no list that begins with an input")
        names = [layer["name"] for layer in layers]
        if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
            raise ValueError("names are not unique")
        if not all(map(str.isprintable, names)):
            raise ValueError("a name cannot be printed")
        left = dict(shapes)
        if sum(map(math.prod, left.values())) > LARGEST:
            raise ValueError("their arrays are too large")
        before = _lengths(layers[0]["shape"], 1, 3)
        if math.prod(before) > LARGEST:
            raise ValueError("the images are too large")
        for previous, layer in zip(layers, layers[1:]):
            if layer.get("input", previous["name"]) != previous["name"]:
                raise ValueError(f"{layer['name']} does not follow {previous['name']}: only chains of layers are known")
            if layer.get("nonlinearity", "identity") not in NONLINEARITIES:
                raise ValueError(f"the nonlinearity {layer['nonlinearity']!r} is unknown")
            found = output_shape(layer, before, left)
            if list(found) != list(layer["shape"]):
                raise ValueError(f"{layer['name']} gives {found}, not {layer['shape']}")
            if math.prod(found) > LARGEST:
                raise ValueError(f"{layer['name']} is too large")
            if layer.get("nonlinearity") == "softmax" and len(found) != 1:
                raise ValueError("a softmax over images is unknown")
            before = found
        if left:
            raise ValueError(f"{', '.join(sorted(left))} is of no layer")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"these layers are no network that can be exported: {reason}; known are chains of dense, "
                        "conv, batch_norm, max_pool, flatten and nonlinearity") from None


def output_shape(layer, before, left):
    """A layer's output shape, its parameters taken out of `left`; ValueError or KeyError where they do not fit."""
    kind, name = layer["kind"], layer["name"]

    def take(param, *shape, optional=False):
        if optional and f"{name}.{param}" not in left:
            return
        found = tuple(left.pop(f"{name}.{param}"))
        if found != shape or math.prod(shape) > LARGEST:
            raise ValueError(f"{name}.{param} is of shape {found}, not {shape}")
    if kind == "dense":
        units, = _lengths(layer["shape"], 1, 1)
        take("W", math.prod(before), units)
        take("b", units, optional=True)
        return (units,)
    if kind in ("conv", "max_pool"):
        if len(before) != 3:
            raise ValueError(f"{name} takes images")
        size, stride, pad = (_lengths(layer.get(key, default), 2, 2, least) for key, default, least in
                             (("size", None, 1), ("stride", None if kind == "max_pool" else [1, 1], 1),
                                 ("pad", [0, 0], 0)))
        padded = [length + 2 * zeros for length, zeros in zip(before[1:], pad)]
        if any(zeros > across for zeros, across in zip(pad, size)) or math.prod((before[0], *padded)) > LARGEST:
            raise ValueError(f"{name} pads too much")
        lengths = [(length - across) // step + 1 for length, across, step in zip(padded, size, stride)]
        if kind == "max_pool":
            if any(pad):
                raise ValueError(f"{name} pads")
            filters = before[0]
        else:
            filters = _lengths(layer["shape"], 3, 3)[0]
            take("W", filters, before[0], *size)
            if math.prod((before[0], *size, *lengths)) > LARGEST:
                raise ValueError(f"{name} is too large")
            take("b", filters, optional=True)
        return _lengths([filters, *lengths], 3, 3)
    if kind == "batch_norm":
        if not 0 < layer["epsilon"] < math.inf:
            raise ValueError(f"{name} has the epsilon {layer['epsilon']}")
        for param in ("beta", "gamma", "mean", "inv_std"):
            take(param, before[0])
    elif kind == "affine":
        take("scale", before[0])
        take("shift", before[0])
    elif kind == "select":
        indices = layer["indices"]
        if len(indices) > LARGEST or not all(
                type(index) is int and 0 <= index < before[0] for index in indices):
            raise ValueError(f"{name} selects what there is not")
        return (len(_lengths(indices, 1, LARGEST, 0)), *before[1:])
    elif kind == "flatten":
        return (math.prod(before),)
    elif kind != "nonlinearity":
        raise ValueError(f"the layer {name} is a {kind}")
    return before


def _lengths(values, fewest, most, least=1):
    """A tuple of `fewest` to `most` whole numbers from `least` on."""
    if not isinstance(values, (list, tuple)) or not fewest <= len(values) <= most or not all(
            type(value) is int and least <= value <= LARGEST for value in values):
        raise ValueError(f"{values!r} where there should be {fewest} to {most} whole numbers from {least} on")
    return tuple(values)


def _squeezed(shape):
    return tuple(length for length in shape if length != 1)


def _preprocessing_shapes(preprocessing, input_shape):
    pixels = math.prod(input_shape)
    known = {"mean": input_shape, "whitening": (pixels, pixels)}
    unknown = set(preprocessing or ()) - set(known)
    if unknown:
        raise UserError(f"a preprocessing with {', '.join(sorted(unknown))} is unknown here")
    return {name: known[name] for name in preprocessing or ()}
