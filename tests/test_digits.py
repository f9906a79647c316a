import numpy as np
import pytest
from sklearn.datasets import load_digits

from data import digits
from utils.errors import UserError


@pytest.fixture(scope="module")
def enlarged():
    return digits.load()


def everything(raw):
    return (np.concatenate([raw.train.inputs, raw.test.inputs]), np.concatenate([raw.train.targets, raw.test.targets]))


def test_they_are_split_by_class_and_always_alike(enlarged):
    assert enlarged.train.inputs.shape == (1442, 1, 28, 28) and enlarged.test.inputs.shape == (355, 1, 28, 28)
    assert enlarged.train.inputs.dtype == enlarged.train.targets.dtype == np.uint8 and enlarged.num_classes == 10
    counts = np.bincount(everything(enlarged)[1])
    assert counts.sum() == 1797
    np.testing.assert_array_equal(np.bincount(enlarged.test.targets), counts // 5)
    np.testing.assert_array_equal(digits.load().train.inputs, enlarged.train.inputs)


def test_small_ones_are_scikit_learns_with_or_without_noise(enlarged):
    small, noisy = digits.load_8x8(), digits.load_8x8_noise()
    assert small.train.inputs.shape == (1442, 1, 8, 8) and noisy.train.inputs.shape == (1442, 2, 8, 8)
    np.testing.assert_array_equal(noisy.train.inputs[:, :1], small.train.inputs)
    np.testing.assert_array_equal(small.train.targets, enlarged.train.targets)
    found = np.sort(everything(small)[0].reshape(1797, 64), axis=0)
    np.testing.assert_array_equal(found, np.sort(np.rint(load_digits().data * 255 / 16), axis=0))
    # The noise says nothing of the digit, and is the same each time.
    noise = noisy.train.inputs[:, 1].reshape(1442, 64) / 256
    means = np.array([noise[noisy.train.targets == digit].mean(0) for digit in range(10)])
    assert abs(means - 0.5).max() < 5 * noise.std() / np.sqrt(130) and noise.std() > 0.25
    np.testing.assert_array_equal(digits.load_8x8_noise().train.inputs, noisy.train.inputs)


def test_they_keep_their_shape_when_enlarged(enlarged):
    small, (images, labels) = load_digits(), everything(enlarged)
    images = images[:, 0].astype("float64")
    # Each class's mean image, brought back to 8x8, is the original's.
    for digit in (0, 1, 7):
        difference = images[labels == digit].mean(0) - images.mean(0)
        back = difference[np.ix_(*[np.rint(np.linspace(0, 27, 8)).astype(int)] * 2)].ravel()
        original = (small.images[small.target == digit].mean(0) - small.images.mean(0)).ravel()
        assert np.corrcoef(back, original)[0, 1] > 0.95


def test_there_is_no_variant_of_them():
    with pytest.raises(UserError, match="no other --variant"):
        digits.load(variant="another")
