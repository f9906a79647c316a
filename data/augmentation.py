"""Random changes of training images, drawn anew for each image and each epoch."""

from dataclasses import dataclass

import numpy as np

__all__ = ["PadCropFlip"]


@dataclass(frozen=True)
class PadCropFlip:
    """Shifts each image by up to `pad` pixels in both directions, and mirrors every second one if `flip` is set.

    What comes in at the border is 0, the mean of prepared images.
    """

    pad: int
    flip: bool

    def __call__(self, images, generator):
        """Changed copies of the images.

        Parameters
        ----------
        images : numpy array
            (images, channels, rows, columns)
        generator : numpy.random.Generator
            decides on shifts and mirroring

        Returns
        -------
        numpy array
            of the same shape and type
        """
        num_images, rows, columns = len(images), *images.shape[2:]
        padded = np.pad(images, ((0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)))
        crops = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(2, 3))
        top, left = generator.integers(0, 2 * self.pad + 1, (2, num_images))
        changed = crops[np.arange(num_images), :, top, left]
        if self.flip:
            mirrored = generator.random(num_images) < 0.5
            changed[mirrored] = changed[mirrored, :, :, ::-1]
        return changed
