import gzip
import hashlib
import struct

import numpy as np
import pytest

import data
from data import dataset, mnist
from data.download import Source
from utils.errors import UserError


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def arrays(rng):
    return [rng.randint(0, 256, (7, 4, 4)).astype("uint8"), rng.randint(0, 10, 7).astype("uint8"),
            rng.randint(0, 256, (3, 4, 4)).astype("uint8"), rng.randint(0, 10, 3).astype("uint8")]


@pytest.fixture
def raw(arrays):
    train_images, train_labels, test_images, test_labels = arrays
    return dataset.Raw(train_images[:, np.newaxis], train_labels, test_images[:, np.newaxis], test_labels, 10)


@pytest.fixture
def source(arrays):
    names = list(mnist.MNIST.sha256)
    return Source("tiny", (), (), {name: hashlib.sha256(idx(array)).hexdigest() for name, array in zip(names, arrays)})


@pytest.fixture
def folder(tmp_path, arrays, source):
    """A data folder with the source's four files, gzipped."""
    (tmp_path / "tiny").mkdir()
    for name, array in zip(source.sha256, arrays):
        (tmp_path / "tiny" / name).write_bytes(gzip.compress(idx(array)))
    return tmp_path


def test_digits_are_split_by_class_and_always_alike(digits):
    assert digits.train_images.shape == (1442, 1, 28, 28) and digits.test_images.shape == (355, 1, 28, 28)
    assert digits.train_images.dtype == np.float32 and digits.train_labels.dtype == np.int32
    everything = np.bincount(digits.train_labels) + np.bincount(digits.test_labels)
    np.testing.assert_array_equal(np.bincount(digits.test_labels), everything // 5)
    assert everything.sum() == 1797
    assert digits.fingerprint == data.load("digits").fingerprint


def test_small_digits_are_scikit_learns_with_or_without_noise(digits):
    from sklearn.datasets import load_digits
    small, noisy = data.load("digits-8x8"), data.load("digits-8x8-noise")
    assert small.train_images.shape == (1442, 1, 8, 8) and noisy.train_images.shape == (1442, 2, 8, 8)
    np.testing.assert_array_equal(noisy.train_images[:, :1], small.train_images)
    np.testing.assert_array_equal(small.train_labels, digits.train_labels)
    pixels = np.sort(np.concatenate([small.train_images, small.test_images]).reshape(1797, 64)[:, 20])
    expected = np.sort(np.rint(load_digits().data[:, 20] * 255 / 16) / 256)
    np.testing.assert_allclose(pixels - pixels[0], expected - expected[0], atol=1e-6)
    # The noise says nothing of the digit, and is the same each time.
    noise = noisy.train_images[:, 1].reshape(1442, 64)
    means = np.array([noise[noisy.train_labels == digit].mean(0) for digit in range(10)])
    assert abs(means).max() < 5 * noise.std() / np.sqrt(130) and noise.std() > 0.25
    np.testing.assert_array_equal(data.load("digits-8x8-noise").train_images, noisy.train_images)


def test_digits_keep_their_shape_when_enlarged(digits):
    from sklearn.datasets import load_digits
    small = load_digits().images
    enlarged = np.concatenate([digits.train_images, digits.test_images])[:, 0] + 0.5
    # Each class's mean image, brought back to 8x8, is the original's.
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    for digit in (0, 1, 7):
        mean = enlarged[labels == digit].mean(0)
        offset = enlarged.mean(0)
        back = (mean - offset)[np.ix_(*[np.rint(np.linspace(0, 27, 8)).astype(int)] * 2)].ravel()
        original = (small[load_digits().target == digit].mean(0) - small.mean(0)).ravel()
        assert np.corrcoef(back, original)[0, 1] > 0.95


def test_preprocessing_is_pixels_over_256_minus_the_training_mean(arrays, raw):
    prepared = dataset.prepare("tiny", raw)
    mean = arrays[0].astype("float64").mean(0) / 256
    np.testing.assert_allclose(prepared.train_images[:, 0], arrays[0] / 256 - mean, atol=1e-6)
    np.testing.assert_allclose(prepared.test_images[:, 0], arrays[2] / 256 - mean, atol=1e-6)
    np.testing.assert_array_equal(prepared.test_labels, arrays[3])


def test_the_fingerprint_tells_data_apart(raw):
    fingerprint = dataset.prepare("tiny", raw).fingerprint
    changed = raw.test_labels.copy()
    changed[0] ^= 1
    assert dataset.prepare("tiny", raw._replace(test_labels=changed)).fingerprint != fingerprint
    assert dataset.prepare("tiny", dataset.with_random_labels(raw, 1)).fingerprint != fingerprint


def test_random_labels_are_drawn_for_training_only_and_repeat_with_the_seed(raw):
    many = raw._replace(train_labels=np.zeros(20000, "uint8"))
    labels = dataset.with_random_labels(many, 3).train_labels
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10 and abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)
    np.testing.assert_array_equal(labels, dataset.with_random_labels(many, 3).train_labels)
    assert (labels != dataset.with_random_labels(many, 4).train_labels).any()
    assert dataset.with_random_labels(many, 3).test_labels is raw.test_labels


def test_a_data_sets_name_tells_what_was_done_to_it(folder, monkeypatch, source):
    monkeypatch.setattr(mnist, "MNIST", source)
    assert data.load("mnist", str(folder)).name == "mnist"
    assert data.load("mnist", str(folder), random_labels=1, variant="tiny").name == "mnist (tiny, random labels)"


def test_idx_files_are_read(arrays):
    np.testing.assert_array_equal(mnist.parse_idx(idx(arrays[0]), "x"), arrays[0])


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01" + b"\0" * 8, b"\0\0\x08\x03\0\0\0\x01",
                                     idx(np.zeros((3, 2), "uint8"))[:-1], idx(np.zeros(3, "uint8")) + b"\0",
                                     b"\0\0\x08\x02" + b"\xff" * 8])
def test_what_is_not_an_idx_file_is_refused_by_name(content):
    with pytest.raises(UserError, match="some-file"):
        mnist.parse_idx(content, "some-file")


@pytest.mark.parametrize("packed", [True, False])
def test_files_on_disk_are_found(folder, source, arrays, packed):
    if not packed:
        for path in list((folder / "tiny").iterdir()):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    for data_dir in (folder, folder / "tiny"):
        loaded = mnist._load(source, str(data_dir))
        np.testing.assert_array_equal(loaded.train_labels, arrays[1])


def test_the_environment_says_where_data_lies(folder, source, monkeypatch):
    monkeypatch.setenv("SPARSEVD_DATA", str(folder))
    assert len(mnist._load(source, None).train_images) == 7


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def damage_tamper(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(bytes(content))


def damage_mislabel(path):
    path.write_bytes((path.parent / "train-images-idx3-ubyte.gz").read_bytes())


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncate, damage_tamper, damage_flip, damage_mislabel, damage_empty])
def test_a_damaged_file_is_refused_and_named(folder, source, damage):
    path = folder / "tiny" / "t10k-images-idx3-ubyte.gz"
    damage(path)
    with pytest.raises(UserError) as error:
        mnist._load(source, str(folder))
    assert str(path) in str(error.value) and "delete or replace it" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.exists()


def test_a_variant_is_taken_from_disk_whatever_it_holds_but_never_downloaded(folder, source):
    path = folder / "tiny" / "t10k-images-idx3-ubyte.gz"
    damage_tamper(path)
    assert len(mnist._load(source, str(folder), variant="tampered").test_images) == 3
    damage_truncate(path)
    with pytest.raises(UserError, match="truncated"):
        mnist._load(source, str(folder), variant="tampered")
    path.unlink()
    with pytest.raises(UserError, match="variant 'tampered'.*leave out --variant"):
        mnist._load(source, str(folder), variant="tampered")


def test_known_hashes_are_of_mnists_real_files(request):
    """Runs where MNIST was downloaded; elsewhere there is nothing to compare with."""
    import os
    from data.download import DEFAULT_FOLDER
    if not os.path.isdir(os.path.join(DEFAULT_FOLDER, "mnist")):
        pytest.skip("MNIST is not in data/downloads")
    real = data.load("mnist")
    assert real.train_images.shape == (60000, 1, 28, 28) and real.test_images.shape == (10000, 1, 28, 28)
    assert np.bincount(real.train_labels)[0] == 5923 and abs(real.train_images.mean()) < 1e-6
