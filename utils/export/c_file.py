"""A network as one self-contained C99 file: tables of the weights that are left, and the loops over them.

Only expf and tanhf of the standard library are used, and no memory but the stack, or static buffers where images are
too large for it. Images are computed in blocks, one in each lane of a vector; what is left over, and a single image,
one by one, with columns in the lanes where they fit. Vectors are GCC's and Clang's own, of 8 numbers with AVX (-mavx2,
-march=native), else of 4; other compilers, or -DNO_VECTORS, take loops in their place.
"""

import math
import re
from functools import partial

import numpy as np

from utils import files
from utils.errors import UserError
from utils.export.network import PIXEL_SCALE, WEIGHTED
from utils.export.predict import affine_of_batch_norm

__all__ = ["write_c", "c_source"]

#: Images in a block, fewer where the stack would hold more than so many bytes; where one does, buffers are static.
_LANES, _STACK = 8, 2 ** 20

_HEADER = """\
/* {title}
 *
 *     void {function}(const float *images, int n, float *probabilities);
 *
 * images: n times {inputs} numbers ({shape}), {meaning};
 * probabilities: n times {outputs} ({classes}).
 * C99, no memory but {stack} bytes{where}; {kept} weights of {weights}. Link with -lm.
 */
#include <math.h>

void {function}(const float *images, int n, float *probabilities);

/* FILL: v = w; GET: v = x[...]; PUT: y[...] = v; ADD: v += w x[...]; ADD_TO: y[...] += w v; for 4 and for 8 numbers. */
#if defined(__GNUC__) && !defined(NO_VECTORS)
typedef float vector4 __attribute__((vector_size(16), aligned(4), may_alias));
#define FILL4(v, w) ((v) = (vector4) {{0}} + (w))
#define GET4(v, x) ((v) = *(const vector4 *) (x))
#define PUT4(y, v) (*(vector4 *) (y) = (v))
#define ADD4(v, w, x) ((v) += (w) * *(const vector4 *) (x))
#define ADD_TO4(y, w, v) (*(vector4 *) (y) += (w) * (v))
#else
typedef struct {{ float v[4]; }} vector4;
#define EACH(what) do {{ int q; for (q = 0; q < 4; ++q) what; }} while (0)
#define FILL4(a, w) EACH((a).v[q] = (w))
#define GET4(a, x) EACH((a).v[q] = (x)[q])
#define PUT4(y, a) EACH((y)[q] = (a).v[q])
#define ADD4(a, w, x) EACH((a).v[q] += (w) * (x)[q])
#define ADD_TO4(y, w, a) EACH((y)[q] += (w) * (a).v[q])
#endif
#if defined(__GNUC__) && defined(__AVX__) && !defined(NO_VECTORS)
typedef float vector8 __attribute__((vector_size(32), aligned(4), may_alias));
#define FILL8(v, w) ((v) = (vector8) {{0}} + (w))
#define GET8(v, x) ((v) = *(const vector8 *) (x))
#define PUT8(y, v) (*(vector8 *) (y) = (v))
#define ADD8(v, w, x) ((v) += (w) * *(const vector8 *) (x))
#define ADD_TO8(y, w, v) (*(vector8 *) (y) += (w) * (v))
#else
typedef struct {{ vector4 low, high; }} vector8;
#define FILL8(v, w) do {{ FILL4((v).low, w); FILL4((v).high, w); }} while (0)
#define GET8(v, x) do {{ GET4((v).low, x); GET4((v).high, (x) + 4); }} while (0)
#define PUT8(y, v) do {{ PUT4(y, (v).low); PUT4((y) + 4, (v).high); }} while (0)
#define ADD8(v, w, x) do {{ ADD4((v).low, w, x); ADD4((v).high, w, (x) + 4); }} while (0)
#define ADD_TO8(y, w, v) do {{ ADD_TO4(y, w, (v).low); ADD_TO4((y) + 4, w, (v).high); }} while (0)
#endif
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
        if the name is none in C, or one that the file uses itself.
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
        title=_in_comment(title), function=function, inputs=math.prod(network.input_shape),
        shape=" x ".join(map(str, network.input_shape)), outputs=len(network.classes),
        meaning="preprocessed and whitened" if whitened else "as the network sees them" if plain else
        "pixels from 0 to 255", classes=_in_comment(", ".join(network.classes)), stack=8 * largest * lanes,
        where=" of static memory: one thread at a time may call it" if _static(largest * lanes) else " of the stack",
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
    source = "\n".join(text)
    # Once declared, once defined.
    if len(re.findall(rf"\b{function}\b", re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL))) != 2:
        raise UserError(f"the C function cannot be called {function!r}: the file uses that name itself")
    return source


def _static(length):
    """What stands before the two buffers of a length: "" if the stack has room for them."""
    return "static " if 8 * length > _STACK else ""


def _in_comment(text):
    """A stranger's text without what could end a comment, trigraphs and joined lines too."""
    return re.sub(r"[^ -~]|[\\?*]", "_", text)


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
            kind = "unsigned char" if largest < 2 ** 8 else "unsigned short" if largest < 2 ** 16 else "int"
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
                step = partial(_dense, c, len(W), size)
            else:
                _, height, width = before
                channel, row, column = np.meshgrid(*map(np.arange, W.shape[1:]), indexing="ij")
                self._sparse(c, W.reshape(len(W), -1), ((channel * height + row) * width + column).ravel())
                step = partial(_conv, c, layer, width)
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

    def _pad(self, layer):
        channels, rows, columns = layer["before"]
        (top, left), (_, height, width) = layer["pad"], layer["shape"]
        return f"""    for (i = 0; i < {channels * height * width} * LANES; ++i)
        OUT[i] = 0.0f;
    for (i = 0; i < {channels}; ++i)
        for (r = 0; r < {rows}; ++r)
            for (l = 0; l < {columns} * LANES; ++l)
                OUT[((i * {height} + r + {top}) * {width} + {left}) * LANES + l] =
                    IN[(i * {rows} + r) * {columns} * LANES + l];
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
            self._templates.append((f"""    for (i = 0; i < {size} * LANES; ++i)
        IN[i] = {single[nonlinearity]};
""", False))
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
            text = text(lanes) if callable(text) else text
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
                f"    {_static(largest * lanes)}float one[{largest * lanes}], other[{largest * lanes}];\n"
                f"    int {counters};\n{text}{body}}}\n")


def _dense(c, inputs, units, lanes):
    """Weights by inputs."""
    add, declared = f"y[0] += {c}_value[k] * x[0];", ""
    if lanes in (4, 8):
        add = f"ADD_TO{lanes}(y, {c}_value[k], v);"
        declared = f"            vector{lanes} v;\n            GET{lanes}(v, x);\n"
    elif lanes > 1:
        add = f"for (l = 0; l < LANES; ++l)\n                    y[l] += {c}_value[k] * x[l];"
    return f"""    for (i = 0; i < {units}; ++i)
        for (l = 0; l < LANES; ++l)
            OUT[i * LANES + l] = {c}_bias[i];
    for (i = 0; i < {inputs}; ++i) {{
        const float *x = IN + i * LANES;
        int used = 0;
        for (l = 0; l < LANES; ++l)
            used |= x[l] != 0.0f;
        if (used) {{
{declared}            for (k = {c}_start[i]; k < {c}_start[i + 1]; ++k) {{
                float *y = OUT + {c}_index[k] * LANES;
                {add}
            }}
        }}
    }}
"""


def _conv(c, layer, width, lanes):
    """Weights by filters; a few neighbouring vectors of results are summed at a time, in registers."""
    filters, rows, columns = layer["shape"]
    down, right = layer.get("stride", (1, 1))
    if lanes in (4, 8):
        size, number, rows_at_once = lanes, _divisor(columns), 1
        step, apart = number, right * lanes                  # columns; numbers between two vectors' inputs
    elif lanes == 1 and right == 1 and columns % 4 == 0:
        step = 8 if columns % 8 == 0 else 4
        size, number, rows_at_once = step, _divisor(rows), _divisor(rows)
        apart = down * width
    else:
        return f"""    for (i = 0; i < {filters}; ++i)
        for (r = 0; r < {rows}; ++r) {{
            float *y = OUT + (i * {rows} + r) * {columns} * LANES;
            for (l = 0; l < {columns} * LANES; ++l)
                y[l] = {c}_bias[i];
            for (k = {c}_start[i]; k < {c}_start[i + 1]; ++k) {{
                const float w = {c}_value[k];
                const float *x = IN + ({c}_index[k] + r * {down * width}) * LANES;
                for (j = 0; j < {columns}; ++j)
                    for (l = 0; l < LANES; ++l)
                        y[j * LANES + l] += w * x[j * {right} * LANES + l];
            }}
        }}
"""
    names = [f"v{index}" for index in range(number)]
    between = f"{columns}" if rows_at_once > 1 or lanes == 1 else "LANES"
    indent = " " * 20

    def each(text):
        return "\n".join(text.format(name=name, index=index) for index, name in enumerate(names))
    return f"""    for (i = 0; i < {filters}; ++i)
        for (r = 0; r < {rows}; r += {rows_at_once})
            for (j = 0; j < {columns}; j += {step}) {{
                float *y = OUT + ((i * {rows} + r) * {columns} + j) * LANES;
                vector{size} {", ".join(names)};
{each(indent[4:] + f"FILL{size}({{name}}, {c}_bias[i]);")}
                for (k = {c}_start[i]; k < {c}_start[i + 1]; ++k) {{
                    const float w = {c}_value[k];
                    const float *x = IN + ({c}_index[k] + r * {down * width} + j * {right}) * LANES;
{each(indent + f"ADD{size}({{name}}, w, x + {{index}} * {apart});")}
                }}
{each(indent[4:] + f"PUT{size}(y + {{index}} * {between}, {{name}});")}
            }}
"""


def _divisor(count):
    """The largest number of vectors up to 6 that divides `count`: with their sums, they fill the registers."""
    return max(number for number in range(1, 7) if count % number == 0)


def _number(value):
    """A float as C writes it, read back to the same value."""
    text = f"{float(np.float32(value)):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")
