"""A picture from disk as a network's images are: of its size, digits white on black and in the middle."""

import contextlib
import io

import numpy as np
from PIL import Image, ImageOps

from utils.errors import UserError

__all__ = ["read_picture"]

#: Larger pictures are refused before their pixels are taken from memory.
_MOST_PIXELS = 2 ** 26
_MOST_BYTES = 2 ** 28
#: Not all that Pillow reads: EPS starts Ghostscript.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def read_picture(path, input_shape):
    """A picture's pixels, uint8, of a network's `input_shape`, (channels, rows, columns).

    One channel: what is drawn, dark on bright paper or bright on dark, becomes bright on black, fills 5/7 of the image,
    and has its centre of mass in the middle, as MNIST's digits do. Three channels: the picture is only scaled. Pictures
    of the network's own size are taken as they are.

    Raises
    ------
    UserError
        if it is missing, no picture, too large, or empty.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise UserError(f"a picture does not fit a network for inputs of {'x'.join(map(str, input_shape))}: it has one "
                        "channel, or three")
    channels, rows, columns = input_shape
    try:
        # From memory, where no more is read than there is, whatever the file says of its sizes.
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(f"{path} has more than {_MOST_BYTES:,} bytes: make it smaller")
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise UserError(f"{path} has {picture.width}x{picture.height} pixels: make it smaller")
            with contextlib.suppress(Exception):    # where what it says of itself is damaged, the picture may be whole
                picture = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I"):    # 16 bits, which Pillow would clip
                picture = Image.fromarray((np.clip(np.asarray(picture), 0, 65535) >> 8).astype(np.uint8))
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                on_white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(on_white, picture.convert("RGBA"))
            picture = picture.convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name a picture") from None
    except UserError:
        raise
    except Exception as error:  # a damaged picture can raise anything
        raise UserError(f"{path} is no picture that can be read ({type(error).__name__}: {error}): save it "
                        f"as one of {', '.join(_FORMATS)}") from None
    if (picture.height, picture.width) == (rows, columns):
        return np.asarray(picture).reshape(rows, columns, channels).transpose(2, 0, 1)
    if channels != 1:
        return np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    drawn = _bright_on_black(np.asarray(picture, np.float64), path)
    # The paper is cut off, what is drawn scaled.
    used = drawn > 0.2 * drawn.max()
    (top, bottom), (left, right) = ((where[0], where[-1] + 1) for where in
                                    (np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))))
    drawn = drawn[top:bottom, left:right]
    scale = min(rows, columns) * 5 / 7 / max(drawn.shape)
    size = [max(1, round(length * scale)) for length in drawn.shape]
    small = Image.fromarray(drawn.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX if scale < 1 else
                                                             Image.Resampling.BILINEAR)
    small = np.asarray(small)
    small = small * (255 / small.max())
    result = np.zeros((rows, columns))
    middle = [(small.sum(axis=1 - axis) * np.arange(small.shape[axis])).sum() / small.sum() for axis in (0, 1)]
    start = [int(np.clip(round((length - 1) / 2 - centre), 0, length - across))
             for length, centre, across in zip((rows, columns), middle, small.shape)]
    result[start[0]:start[0] + size[0], start[1]:start[1] + size[1]] = small
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)[np.newaxis]


def _bright_on_black(pixels, path):
    border = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]))
    drawn = border - pixels if border > 127 else pixels - border
    drawn = np.maximum(drawn, 0)
    if drawn.max() < 16:
        raise UserError(f"{path} shows nothing: draw a digit, dark on bright or bright on dark")
    return drawn
