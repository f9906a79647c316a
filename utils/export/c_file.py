"""A network as one self-contained C99 file: tables of the weights that are left, and the loops over them.

Only expf and tanhf of the standard library are used, and no memory but the stack. Images are computed in blocks, one in
each lane of a vector; what is left over, and a single image, one by one. A compiler vectorizes the loops by itself: their
lengths are written out.
"""

import math

import numpy as np

from utils import files
from utils.errors import UserError
from utils.export.network import PIXEL_SCALE, WEIGHTED
from utils.export.predict import affine_of_batch_norm

__all__ = ["write_c", "c_source"]

#: Images in a block, fewer where the stack would hold more than so many bytes.
_LANES, _STACK = 8, 2 ** 20

_HEADER = """\
/* {title}
 *
 *     void {function}(const float *images, int n, float *probabilities);
 *
 * images: n times {inputs} numbers ({shape}), {meaning};
 * probabilities: n times {outputs} ({classes}).
 * C99, no memory but {stack} bytes of the stack; {kept} weights of {weights}. Link with -lm.
 */
#include <math.h>

void {function}(const float *images, int n, float *probabilities);
"""


def write_c(network, path, **keywords):
    """Writes :func:`c_source` to a file."""
    with files.atomic_write(path) as file:
        file.write(c_source(network, **keywords).encode("ascii", "replace"))


def c_source(network, function="predict", title="A neural network", lanes=None):
    """The text of the C file.

    Parameters
    ----------
    network : :class:`utils.export.network.ExportedNetwork`
        is usually compacted before. Whitening is left out: its function takes inputs that are whitened already.
    function : str
        the name of the function
    title : str
    lanes : int or None
        images in a block; None chooses

    Raises
    ------
    UserError
        if the name is none in C.
    """
    if not (function.isidentifier() and function.isascii()):
        raise UserError(f"{function!r} is no name of a C function")
    largest = max(math.prod(layer["shape"]) for layer in _padded(network.layers))
    if lanes is None:
        lanes = max(1, min(_LANES, 2 ** int(math.log2(max(1, _STACK // (8 * largest))))))
    whitened = "whitening" in (network.preprocessing or ())
    plain = network.preprocessing is None or whitened
    weights = network.weights().values()
    text = [_HEADER.format(
        title=title.replace("*/", "* /"), function=function, inputs=math.prod(network.input_shape),
        shape=" x ".join(map(str, network.input_shape)), outputs=len(network.classes),
        meaning="preprocessed and whitened" if whitened else "as the network sees them" if plain else
        "pixels from 0 to 255", classes=", ".join(network.classes).replace("*/", "* /"), stack=8 * largest * lanes,
        kept=sum(map(np.count_nonzero, weights)), weights=sum(array.size for array in weights))]
    steps = _Steps(network, plain)
    text += steps.tables
    for number in sorted({1, lanes}):
        text.append(steps.function(number, largest))
    block = f"""    for (; n - first >= {lanes}; first += {lanes})
        block_{lanes}(images + (long) first * {steps.inputs}, probabilities + (long) first * {steps.outputs});
""" if lanes > 1 else ""
    text.append(f"""void {function}(const float *images, int n, float *probabilities)
{{
    int first = 0;
{block}    for (; first < n; ++first)
        block_1(images + (long) first * {steps.inputs}, probabilities + (long) first * {steps.outputs});
}}
""")
    return "\n".join(text)


def _padded(layers):
    """The layers, and one for each copy of a signal with zeros around it."""
    before = layers[0]["shape"]
    for layer in layers:
        pad = layer.get("pad", [0, 0])
        if layer["kind"] == "conv" and any(pad):
            yield {"kind": "pad", "pad": pad, "before": before,
                   "shape": [before[0], before[1] + 2 * pad[0], before[2] + 2 * pad[1]]}
        yield layer
        before = layer["shape"]


class _Steps:
    """The tables of a network's layers, and the text of the function for a number of images."""

    def __init__(self, network, plain):
        self.inputs, self.outputs = math.prod(network.input_shape), len(network.classes)
        self.tables, self._templates = [], []
        layers = [layer for layer in _padded(network.layers) if layer["kind"] != "flatten"]
        self._load(network, plain, layers)
        before = layers.pop(0)["shape"]
        if layers and self._used is not None:
            before = layers.pop(0)["shape"]
        for number, layer in enumerate(layers):
            self._layer(network.arrays, layer, before, f"l{number}")
            before = layer["shape"]

    def _table(self, kind, name, values):
        values = list(values) or [0]
        if kind == "float":
            texts = [_number(value) for value in values]
        else:
            largest = max(values)
            kind = "unsigned char" if largest < 2 ** 8 else "unsigned short" if largest < 2 ** 16 else "unsigned int"
            texts = [str(int(value)) for value in values]
        lines, line = [], ""
        for text in texts:
            if len(line) + len(text) > 110:
                lines.append(line)
                line = ""
            line += text + ", "
        lines.append(line)
        body = "\n".join("    " + line.rstrip() for line in lines).rstrip(",")
        self.tables.append(f"static const {kind} {name}[{len(values)}] = {{\n{body}\n}};\n")

    def _load(self, network, plain, layers):
        self._used, used, count = None, "i", self.inputs
        if len(layers) > 1 and layers[1]["kind"] == "select" and (
                len(layers[0]["shape"]) == 1 or network.layers[1]["kind"] == "flatten"):
            self._used = layers[1]["indices"]
            count, used = len(self._used), "used[i]"
            self._table("int", "used", self._used)
        value = f"images[l * {self.inputs} + {used}]"
        if not plain:
            value += f" * {_number(1 / PIXEL_SCALE)}"
            if "mean" in network.preprocessing:
                mean = network.preprocessing["mean"].ravel()
                self._table("float", "mean", mean if self._used is None else mean[self._used])
                value += " - mean[i]"
        self._templates.append((f"""    for (i = 0; i < {count}; ++i)
        for (l = 0; l < LANES; ++l)
            IN[i * LANES + l] = {value};
""", False))

    def _layer(self, arrays, layer, before, c):
        kind, shape = layer["kind"], layer["shape"]
        size = math.prod(shape)
        if kind in WEIGHTED:
            W = arrays[f"{layer['name']}.W"]
            biases = arrays.get(f"{layer['name']}.b", np.zeros(shape[0], np.float32))
            self._table("float", f"{c}_bias", biases)
            if kind == "dense":
                # By inputs: those that are 0, such as the paper around a digit, take no time.
                self._sparse(c, W, range(len(W[0])))
                step = f"""    for (i = 0; i < {size}; ++i)
        for (l = 0; l < LANES; ++l)
            OUT[i * LANES + l] = {c}_bias[i];
    for (i = 0; i < {len(W)}; ++i) {{
        const float *x = IN + i * LANES;
        int used = 0;
        for (l = 0; l < LANES; ++l)
            used |= x[l] != 0.0f;
        if (used)
            for (k = {c}_start[i]; k < {c}_start[i + 1]; ++k) {{
                const float w = {c}_value[k];
                float *y = OUT + {c}_index[k] * LANES;
                for (l = 0; l < LANES; ++l)
                    y[l] += w * x[l];
            }}
    }}
"""
            else:
                step = self._conv(layer, W, before, c)
            self._templates.append((step, True))
        elif kind == "pad":
            self._templates.append((self._pad(layer), True))
        elif kind == "max_pool":
            self._templates.append((self._max_pool(layer, before), True))
        elif kind == "select":
            self._table("int", f"{c}_used", layer["indices"])
            each = math.prod(shape[1:])
            self._templates.append((f"""    for (i = 0; i < {shape[0]}; ++i)
        for (l = 0; l < {each} * LANES; ++l)
            OUT[i * {each} * LANES + l] = IN[{c}_used[i] * {each} * LANES + l];
""", True))
        elif kind in ("batch_norm", "affine"):
            scale, shift = affine_of_batch_norm(layer, arrays)
            self._table("float", f"{c}_scale", scale)
            self._table("float", f"{c}_shift", shift)
            each = math.prod(shape[1:])
            self._templates.append((f"""    for (i = 0; i < {shape[0]}; ++i)
        for (l = 0; l < {each} * LANES; ++l)
            IN[i * {each} * LANES + l] = IN[i * {each} * LANES + l] * {c}_scale[i] + {c}_shift[i];
""", False))
        self._nonlinearity(layer.get("nonlinearity", "identity"), size)

    def _sparse(self, c, matrix, columns):
        """Rows of non-zero weights: where each row begins, their columns, their values."""
        columns = np.asarray(columns)
        kept = matrix != 0
        self._table("int", f"{c}_start", np.concatenate([[0], np.cumsum(kept.sum(axis=1))]))
        self._table("int", f"{c}_index", columns[np.nonzero(kept)[1]])
        self._table("float", f"{c}_value", matrix[kept])

    def _conv(self, layer, W, before, c):
        filters, rows, columns = layer["shape"]
        down, right = layer.get("stride", (1, 1))
        _, height, width = before
        channel, row, column = np.meshgrid(*map(np.arange, W.shape[1:]), indexing="ij")
        self._sparse(c, W.reshape(filters, -1), ((channel * height + row) * width + column).ravel())
        inner = f"""for (l = 0; l < {columns} * LANES; ++l)
                    y[l] += w * x[l];""" if right == 1 else f"""for (j = 0; j < {columns}; ++j)
                    for (l = 0; l < LANES; ++l)
                        y[j * LANES + l] += w * x[j * {right} * LANES + l];"""
        return f"""    for (i = 0; i < {filters}; ++i)
        for (r = 0; r < {rows}; ++r) {{
            float *y = OUT + (i * {rows} + r) * {columns} * LANES;
            for (l = 0; l < {columns} * LANES; ++l)
                y[l] = {c}_bias[i];
            for (k = {c}_start[i]; k < {c}_start[i + 1]; ++k) {{
                const float w = {c}_value[k];
                const float *x = IN + ({c}_index[k] + r * {down * width}) * LANES;
                {inner}
            }}
        }}
"""

    def _pad(self, layer):
        channels, rows, columns = layer["before"]
        (top, left), (_, height, width) = layer["pad"], layer["shape"]
        return f"""    for (i = 0; i < {channels * height * width} * LANES; ++i)
        OUT[i] = 0.0f;
    for (i = 0; i < {channels}; ++i)
        for (r = 0; r < {rows}; ++r)
            for (l = 0; l < {columns} * LANES; ++l)
                OUT[((i * {height} + r + {top}) * {width} + {left}) * LANES + l] = IN[(i * {rows} + r) * {columns} * LANES + l];
"""

    def _max_pool(self, layer, before):
        channels, rows, columns = layer["shape"]
        (high, wide), (down, right), (_, height, width) = layer["size"], layer["stride"], before
        return f"""    for (i = 0; i < {channels}; ++i)
        for (r = 0; r < {rows}; ++r)
            for (j = 0; j < {columns}; ++j) {{
                const float *x = IN + ((i * {height} + r * {down}) * {width} + j * {right}) * LANES;
                float *y = OUT + ((i * {rows} + r) * {columns} + j) * LANES;
                int a, b;
                for (l = 0; l < LANES; ++l)
                    y[l] = x[l];
                for (a = 0; a < {high}; ++a)
                    for (b = 0; b < {wide}; ++b)
                        for (l = 0; l < LANES; ++l) {{
                            const float other = x[(a * {width} + b) * LANES + l];
                            y[l] = other > y[l] ? other : y[l];
                        }}
            }}
"""

    def _nonlinearity(self, nonlinearity, size):
        single = {"rectify": "IN[i] > 0.0f ? IN[i] : 0.0f", "tanh": "tanhf(IN[i])",
                  "sigmoid": "0.5f * tanhf(0.5f * IN[i]) + 0.5f"}
        if nonlinearity in single:
            self._templates.append((f"    for (i = 0; i < {size} * LANES; ++i)\n        IN[i] = {single[nonlinearity]};\n",
                                    False))
        elif nonlinearity == "softmax":
            self._templates.append((f"""    for (l = 0; l < LANES; ++l) {{
        float most = IN[l], sum = 0.0f;
        for (i = 1; i < {size}; ++i)
            most = IN[i * LANES + l] > most ? IN[i * LANES + l] : most;
        for (i = 0; i < {size}; ++i)
            sum += IN[i * LANES + l] = expf(IN[i * LANES + l] - most);
        for (i = 0; i < {size}; ++i)
            IN[i * LANES + l] /= sum;
    }}
""", False))

    def function(self, lanes, largest):
        """The C function for `lanes` images. Signals go to and fro between two buffers."""
        buffers, body = ["one", "other"], []
        for text, moves in self._templates:
            body.append(text.replace("IN[", f"{buffers[0]}[").replace("OUT[", f"{buffers[1]}[")
                        .replace("IN +", f"{buffers[0]} +").replace("OUT +", f"{buffers[1]} +")
                        .replace("LANES", str(lanes)))
            if moves:
                buffers.reverse()
        text = "".join(body)
        # No variable that no loop uses.
        counters = ", ".join(name for name in "ijklr" if f"({name} = " in text)
        body = f"""    for (i = 0; i < {self.outputs}; ++i)
        for (l = 0; l < {lanes}; ++l)
            probabilities[l * {self.outputs} + i] = {buffers[0]}[i * {lanes} + l];
"""
        return (f"static void block_{lanes}(const float *images, float *probabilities)\n{{\n"
                f"    float one[{largest * lanes}], other[{largest * lanes}];\n    int {counters};\n{text}{body}}}\n")


def _number(value):
    """A float as C writes it, read back to the same value."""
    text = f"{float(np.float32(value)):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")
