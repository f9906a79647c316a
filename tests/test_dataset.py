from dataclasses import dataclass

import numpy as np
import pytest

from data.dataset import Dataset, Raw, Split, split_for_validation, with_random_labels
from utils.errors import UserError


@pytest.fixture
def raw(rng):
    def draw(count):
        return Split(rng.randint(0, 256, (count, 1, 4, 4)).astype("uint8"), rng.randint(0, 10, count).astype("uint8"))
    return Raw(draw(7), draw(3), 10)


@pytest.fixture
def numbered():
    """23 examples that can be told apart, with targets to match."""
    return Split(np.arange(23, dtype="float32").reshape(23, 1, 1, 1), np.arange(23, dtype="int32"))


@dataclass(frozen=True)
class Scaled:
    """A transform that a test sees through."""

    factor: float

    def __call__(self, images):
        return images.astype(np.float32) * np.float32(self.factor)


def dataset_of(raw, **attributes):
    return Dataset.of(raw, Scaled(0.5), **{"id": "tiny", "name": "tiny", **attributes})


def test_both_sets_are_transformed_alike_and_the_labels_are_not(raw):
    dataset = dataset_of(raw, name="tiny (x)", augmentation=len)
    for split, before in ((dataset.train, raw.train), (dataset.test, raw.test)):
        assert split.inputs.dtype == np.float32 and split.targets.dtype == np.int32
        np.testing.assert_array_equal(split.inputs, before.inputs / 2)
        np.testing.assert_array_equal(split.targets, before.targets)
    assert (dataset.id, dataset.name, dataset.num_classes) == ("tiny", "tiny (x)", 10)
    assert dataset.transform == Scaled(0.5) and dataset.augmentation is len
    assert (len(dataset.train), len(dataset.test)) == (7, 3)


def test_the_fingerprint_tells_data_apart(raw):
    fingerprint = dataset_of(raw).fingerprint
    assert fingerprint == dataset_of(raw, name="another").fingerprint
    for name in ("train", "test"):
        split = getattr(raw, name)
        for changed in (Split(split.inputs, split.targets ^ 1), Split(split.inputs ^ 1, split.targets)):
            assert dataset_of(raw._replace(**{name: changed})).fingerprint != fingerprint
    assert dataset_of(with_random_labels(raw, 1)).fingerprint != fingerprint
    assert dataset_of(raw._replace(train=Split(raw.train.inputs.reshape(7, 1, 2, 8), raw.train.targets))
                      ).fingerprint != fingerprint


def test_random_labels_are_drawn_for_training_only_and_repeat_with_the_seed(raw):
    many = raw._replace(train=Split(raw.train.inputs.repeat(3000, axis=0), np.zeros(21000, "uint8")))
    labels = with_random_labels(many, 3).train.targets
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10 and abs(counts - 2100).max() < 5 * np.sqrt(2100 * 0.9)
    np.testing.assert_array_equal(labels, with_random_labels(many, 3).train.targets)
    assert (labels != with_random_labels(many, 4).train.targets).any()
    assert with_random_labels(many, 3).test is raw.test
    assert with_random_labels(many, 3).train.inputs is many.train.inputs


def test_the_last_training_images_take_the_test_sets_place(raw):
    split = split_for_validation(raw, 2)
    np.testing.assert_array_equal(split.train.inputs, raw.train.inputs[:5])
    np.testing.assert_array_equal(split.test.inputs, raw.train.inputs[5:])
    np.testing.assert_array_equal(split.train.targets, raw.train.targets[:5])
    np.testing.assert_array_equal(split.test.targets, raw.train.targets[5:])
    assert split.num_classes == 10
    with pytest.raises(UserError, match="--validation 7 leaves none of the 7 training images"):
        split_for_validation(raw, 7)


def test_batches_hold_each_example_once_but_for_an_incomplete_last_batch(numbered):
    batches = list(numbered.batches(5, np.random.default_rng(1)))
    assert len(batches) == numbered.num_batches(5) == 4
    assert all(inputs.shape == (5, 1, 1, 1) and targets.shape == (5,) for inputs, targets in batches)
    seen = np.concatenate([targets for _, targets in batches])
    np.testing.assert_array_equal(np.concatenate([inputs for inputs, _ in batches]).ravel(), seen)
    assert len(set(seen)) == 20
    # The order is the generator's, another one each time.
    np.testing.assert_array_equal(seen, np.random.default_rng(1).permutation(23)[:20])
    generator = np.random.default_rng(1)
    passes = [np.concatenate([targets for _, targets in numbered.batches(23, generator)]) for _ in range(2)]
    assert (passes[0] != passes[1]).any() and sorted(passes[1]) == list(range(23))


def test_augmentation_draws_batch_by_batch_after_the_order(numbered):
    """So that a run can be resumed, and repeated by another version of this code."""
    def shifted(inputs, generator):
        return inputs + generator.random(len(inputs)).reshape(inputs.shape)

    before = numbered.inputs.copy()
    found = list(numbered.batches(5, np.random.default_rng(1), shifted))
    np.testing.assert_array_equal(numbered.inputs, before)
    generator = np.random.default_rng(1)
    order = generator.permutation(23)
    for number, (inputs, targets) in enumerate(found):
        chosen = order[5 * number:5 * number + 5]
        np.testing.assert_array_equal(targets, chosen)
        np.testing.assert_array_equal(inputs.ravel(), chosen + generator.random(5))
