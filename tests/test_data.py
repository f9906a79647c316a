import os
import subprocess
import sys

import numpy as np
import pytest

import data
from conftest import ROOT
from data.dataset import Raw, Split
from utils.errors import UserError


@pytest.fixture
def raw(rng, monkeypatch):
    """A small data set in MNIST's place."""
    def draw(count):
        return Split(rng.randint(0, 256, (count, 1, 4, 4)).astype("uint8"), rng.randint(0, 10, count).astype("uint8"))

    raw = Raw(draw(70), draw(30), 10)
    spec = data.DATASETS["mnist"]
    monkeypatch.setitem(data.DATASETS, "mnist", data.DatasetSpec(lambda *arguments: raw, spec.augmentation))
    return raw


@pytest.mark.parametrize("name", ["digits", "digits-8x8", "digits-8x8-noise"])
def test_a_data_set_is_ready_for_a_network(name):
    dataset, spec = data.load(name), data.DATASETS[name]
    assert dataset.id == dataset.name == name and dataset.num_classes == 10
    for split, count in ((dataset.train, 1442), (dataset.test, 355)):
        assert split.inputs.dtype == np.float32 and split.targets.dtype == np.int32
        assert len(split) == len(split.targets) == count
    assert abs(dataset.train.inputs.mean(axis=0)).max() < 1e-6
    assert dataset.augmentation is spec.augmentation
    # Augmentation takes the images as they are.
    changed = dataset.augmentation(dataset.train.inputs[:50], np.random.default_rng(1))
    assert changed.shape == dataset.train.inputs[:50].shape and (changed != dataset.train.inputs[:50]).any()


@pytest.mark.parametrize("name, fingerprint", [("digits", "8cde1f714db6b876"), ("digits-8x8", "68dc1bc5839dcf63"),
                                               ("digits-8x8-noise", "8c3d51eae2063aea")])
def test_the_data_are_those_of_the_committed_runs(name, fingerprint):
    """With another fingerprint, no unfinished run would go on."""
    assert data.load(name).fingerprint.startswith(fingerprint)


def test_every_data_set_has_a_preprocessing_and_an_augmentation_that_leaves_it_what_it_is():
    for name, spec in data.DATASETS.items():
        assert spec.preprocessing == ("zca" if name.startswith("cifar") else "mean-image")
        # A mirrored digit is no digit.
        assert spec.augmentation.flip == name.startswith("cifar")
        assert spec.augmentation.pad == (1 if "8x8" in name else 4)


def test_the_data_sets_own_preprocessing_is_the_default(raw, tmp_path, monkeypatch):
    spec = data.DATASETS["mnist"]
    for usual, given, expected in (("zca", None, "Zca"), ("zca", "mean-image", "MeanImage"),
                                   ("mean-image", "zca-original", "Zca"), ("mean-image", None, "MeanImage")):
        monkeypatch.setitem(data.DATASETS, "mnist", data.DatasetSpec(spec.loader, spec.augmentation, usual))
        dataset = data.load("mnist", str(tmp_path), given)
        assert type(dataset.transform).__name__ == expected
        np.testing.assert_array_equal(dataset.test.inputs, dataset.transform(raw.test.inputs))


def test_preprocessing_is_pixels_over_256_minus_the_training_mean(raw):
    dataset = data.load("mnist")
    mean = raw.train.inputs.astype("float64").mean(0) / 256
    np.testing.assert_allclose(dataset.train.inputs, raw.train.inputs / 256 - mean, atol=1e-6)
    np.testing.assert_allclose(dataset.test.inputs, raw.test.inputs / 256 - mean, atol=1e-6)


def test_what_is_held_out_for_validation_has_no_part_in_preprocessing(raw, tmp_path):
    dataset = data.load("mnist", validation=20)
    assert dataset.name == "mnist (validation 20)" and dataset.id == "mnist"
    assert (len(dataset.train), len(dataset.test)) == (50, 20)
    np.testing.assert_array_equal(dataset.test.targets, raw.train.targets[50:])
    mean = raw.train.inputs[:50].astype("float64").mean(0) / 256
    np.testing.assert_allclose(dataset.test.inputs, raw.train.inputs[50:] / 256 - mean, atol=1e-6)
    # Whitening: as fitted on these images and no others.
    whitened = data.load("mnist", str(tmp_path), "zca", validation=20)
    expected = data.PREPROCESSINGS["zca"](raw.train.inputs[:50])
    np.testing.assert_array_equal(whitened.transform.whitening, expected.whitening)


def test_what_is_held_out_for_validation_keeps_its_labels(raw):
    dataset = data.load("mnist", random_labels=1, validation=20)
    np.testing.assert_array_equal(dataset.test.targets, raw.train.targets[50:])
    np.testing.assert_array_equal(dataset.train.targets, data.load("mnist", random_labels=1).train.targets[:50])


def test_a_data_sets_name_tells_what_was_done_to_it(raw):
    assert data.load("mnist").name == "mnist"
    dataset = data.load("mnist", random_labels=1, variant="tiny", validation=5)
    assert dataset.name == "mnist (tiny, random labels, validation 5)" and dataset.id == "mnist"
    assert dataset.fingerprint != data.load("mnist", random_labels=2, variant="tiny", validation=5).fingerprint


def test_what_there_is_not_is_refused_with_what_there_is(raw):
    with pytest.raises(UserError, match="no data set 'imagenet'.*mnist.*cifar10"):
        data.load("imagenet")
    with pytest.raises(UserError, match="no preprocessing 'pca'.*mean-image, zca"):
        data.load("mnist", preprocessing="pca")


def test_data_needs_no_theano_and_nothing_of_the_floors_beside_and_above():
    program = ("import sys, data\n"
               "print([name for name in sys.modules if name.split('.')[0] in ('theano', 'nets', 'experiments')])")
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": ROOT}, check=True)
    assert result.stdout == "[]\n"
