"""Pictures of the weights as training goes on: the first convolution's filters and a piece of the first dense layer."""

import glob
import os

import numpy as np
import seaborn
from PIL import Image, ImageDraw

from utils import files
from utils.errors import UserError

__all__ = ["Snapshots", "kept", "thinned", "tiled", "color_scale"]

PIECE = 100         # rows and columns of the dense layer that are shown
FILTERS = 64        # filters that are shown, at most
FRAMES = 100        # of a GIF, at most
FRAME_MILLISECONDS = 100
PANELS = 4          # epochs that a PNG shows side by side


class Snapshots:
    """The weights that the pictures show, kept in a run's folder epoch by epoch.

    Pruned weights are shown as 0, which is white. A network without convolutions shows the weights of the first dense
    layer's units as images instead of filters.

    Parameters
    ----------
    run : :class:`utils.runs.Run`
    input_shape : tuple
        (channels, rows, columns) of the network's images
    """

    def __init__(self, run, input_shape):
        self._folder = run.path("snapshots")
        with files.writing(self._folder):
            os.makedirs(self._folder, exist_ok=True)
        self._input_shape = input_shape

    def take(self, epoch, weights):
        """Keeps the weights after the given number of epochs.

        Parameters
        ----------
        epoch : int
        weights : dict
            {"layer.W": array}, pruned, in the network's order
        """
        arrays = [array for name, array in weights.items() if name.endswith(".W")]
        dense = next(array for array in arrays if array.ndim == 2)
        filters = next((array for array in arrays if array.ndim == 4), None)
        if filters is None:
            filters = dense.T.reshape(-1, *self._input_shape)
        files.write_arrays(os.path.join(self._folder, f"epoch-{epoch:04d}.npz"),
                           {"filters": filters[:FILTERS], "dense": dense[:PIECE, :PIECE]})

    def draw(self):
        """Draws `filters` and `dense` of all epochs kept, each as PNG and GIF; returns the paths."""
        epochs, paths = kept(self._folder), []
        for name, layout in (("filters", tiled), ("dense", np.asarray)):
            pictures = [layout(arrays[name]) for arrays in epochs.values()]
            scale = color_scale(pictures)
            frames = [_frame(picture / scale, f"epoch {epoch}") for epoch, picture in zip(epochs, pictures)]
            paths += [self._draw_gif(name, thinned(frames, FRAMES)), self._draw_png(name, thinned(frames, PANELS))]
        return paths

    def _draw_gif(self, name, frames):
        path = os.path.join(self._folder, f"{name}.gif")
        durations = [FRAME_MILLISECONDS] * (len(frames) - 1) + [20 * FRAME_MILLISECONDS]
        with files.atomic_write(path) as file:
            frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
        return path

    def _draw_png(self, name, frames):
        path = os.path.join(self._folder, f"{name}.png")
        width, height = frames[0].size
        picture = Image.new("RGB", (width * len(frames), height), "white")
        for number, frame in enumerate(frames):
            picture.paste(frame, (number * width, 0))
        with files.atomic_write(path) as file:
            picture.save(file, format="PNG")
        return path


def kept(folder):
    """What `Snapshots` kept in a folder: {epoch: {"filters": array, "dense": array}}, by epoch.

    Raises
    ------
    UserError
        if a file is damaged, or of another shape than the first one.
    """
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "epoch-*.npz"))):
        number = os.path.basename(path)[6:-4]
        if not number.isdecimal():
            continue
        arrays = files.read_arrays(path)
        shapes = {name: array.shape for name, array in arrays.items()}
        first = {name: array.shape for name, array in next(iter(found.values()), arrays).items()}
        if {name: len(shape) for name, shape in shapes.items()} != {"filters": 4, "dense": 2} or shapes != first \
                or not all(array.dtype.kind == "f" and array.size for array in arrays.values()):
            raise UserError(f"{path} does not hold filters and a piece of a dense layer, of one shape in all epochs: "
                            "restore it from a copy, or remove it")
        found[int(number)] = arrays
    return found


def color_scale(pictures):
    """What the deepest colour stands for, in all pictures; the largest percent is cut off lest the rest be pale."""
    return max((np.quantile(np.abs(picture[picture != 0]), 0.99) for picture in pictures if picture.any()),
               default=1.0)


def thinned(items, count):
    """At most `count` of the items, evenly, the first and the last among them."""
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, min(count, len(items)))]


def tiled(filters):
    """Filters (count, channels, rows, columns) as one picture (rows, columns), their channels averaged, in a grid."""
    filters = np.pad(filters.mean(axis=1), ((0, 0), (1, 1), (1, 1)))
    columns = int(np.ceil(np.sqrt(len(filters))))
    empty = -len(filters) % columns
    filters = np.pad(filters, ((0, empty), (0, 0), (0, 0)))
    grid = filters.reshape(-1, columns, *filters.shape[1:])
    return grid.transpose(0, 2, 1, 3).reshape(grid.shape[0] * grid.shape[2], -1)


def _frame(values, text):
    """A picture of values in [-1, 1], blue below 0, white at 0 and red above, at least 300 pixels wide."""
    colors = seaborn.color_palette("RdBu_r", as_cmap=True)((np.clip(values, -1, 1) + 1) / 2, bytes=True)[..., :3]
    colors[values == 0] = 255
    picture = Image.fromarray(np.ascontiguousarray(colors))
    factor = -(-300 // picture.width)
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    framed = Image.new("RGB", (picture.width + 10, picture.height + 24), "white")
    framed.paste(picture, (5, 19))
    ImageDraw.Draw(framed).rectangle((4, 18, picture.width + 5, picture.height + 19), outline="gray")
    ImageDraw.Draw(framed).text((5, 3), text, fill="black")
    return framed
