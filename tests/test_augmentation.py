from itertools import product

import numpy as np
import pytest

from data.augmentation import PadCropFlip


@pytest.fixture
def images(rng):
    return rng.normal(size=(400, 2, 6, 5)).astype("float32")


def variants(image, pad, flip):
    """Every image that shifting and mirroring can make of one: {(top, left, mirrored): image}."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    rows, columns = image.shape[1:]
    crops = {(top, left): padded[:, top:top + rows, left:left + columns]
             for top, left in product(range(2 * pad + 1), repeat=2)}
    return {(*corner, mirrored): crop[:, :, ::-1] if mirrored else crop
            for corner, crop in crops.items() for mirrored in ([False, True] if flip else [False])}


@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_shifted_and_mirrored_by_itself_and_evenly(images, flip):
    changed = PadCropFlip(1, flip)(images, np.random.default_rng(1))
    assert changed.shape == images.shape and changed.dtype == images.dtype
    found = []
    for image, result in zip(images, changed):
        matches = [key for key, value in variants(image, 1, flip).items() if np.array_equal(value, result)]
        assert len(matches) == 1
        found.append(matches[0])
    kinds = variants(images[0], 1, flip)
    counts = np.array([found.count(kind) for kind in kinds])
    expected = len(images) / len(kinds)
    assert counts.sum() == len(images) and abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_the_images_themselves_stay_and_the_generator_decides(images):
    before = images.copy()
    results = [PadCropFlip(2, True)(images, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_without_shift_and_mirror_nothing_changes(images):
    np.testing.assert_array_equal(PadCropFlip(0, False)(images, np.random.default_rng(1)), images)
