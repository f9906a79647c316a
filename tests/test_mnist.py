import gzip
import hashlib

import numpy as np
import pytest

import data
from data import mnist
from data.archives import gunzip
from data.download import DEFAULT_FOLDER, FileSet, find
from test_archives import idx
from utils.errors import UserError


@pytest.fixture
def arrays(rng):
    return [rng.randint(0, 256, (7, 4, 4)).astype("uint8"), rng.randint(0, 10, 7).astype("uint8"),
            rng.randint(0, 256, (3, 4, 4)).astype("uint8"), rng.randint(0, 10, 3).astype("uint8")]


@pytest.fixture
def tiny(arrays, monkeypatch):
    """Four small files, whose hashes take MNIST's place."""
    return in_place_of("MNIST", arrays, monkeypatch)


def in_place_of(files, arrays, monkeypatch):
    contents = zip(getattr(mnist, files).sha256, arrays)
    monkeypatch.setattr(mnist, files, FileSet("tiny", (), (), {name: hashlib.sha256(idx(array)).hexdigest()
                                                               for name, array in contents}))
    return getattr(mnist, files)


@pytest.fixture
def folder(tmp_path, arrays, tiny):
    """A data folder with the four files, gzipped."""
    (tmp_path / "tiny").mkdir()
    for name, array in zip(tiny.sha256, arrays):
        (tmp_path / "tiny" / name).write_bytes(gzip.compress(idx(array)))
    return tmp_path


@pytest.mark.parametrize("packed", [True, False])
def test_files_on_disk_are_found(folder, arrays, packed):
    if not packed:
        for path in list((folder / "tiny").iterdir()):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    for data_dir in (folder, folder / "tiny"):
        raw = mnist.load_mnist(str(data_dir))
        for found, expected in zip((raw.train.inputs[:, 0], raw.train.targets, raw.test.inputs[:, 0],
                                    raw.test.targets), arrays, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_fashion_mnist_has_files_of_its_own(folder, arrays, monkeypatch):
    other = [255 - arrays[0], *arrays[1:]]
    in_place_of("FASHION_MNIST", other, monkeypatch)
    with pytest.raises(UserError, match="train-images"):
        mnist.load_fashion_mnist(str(folder))
    (folder / "tiny" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(other[0])))
    np.testing.assert_array_equal(mnist.load_fashion_mnist(str(folder)).train.inputs[:, 0], other[0])


def test_the_environment_says_where_data_lies(folder, monkeypatch):
    monkeypatch.setenv("SPARSEVD_DATA", str(folder))
    assert len(mnist.load_mnist().train) == 7


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
def test_a_damaged_file_is_refused_and_named(folder, damage):
    path = folder / "tiny" / "t10k-images-idx3-ubyte.gz"
    damage(path)
    with pytest.raises(UserError) as error:
        mnist.load_mnist(str(folder))
    assert str(path) in str(error.value) and "delete or replace it" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.exists()


def test_a_variant_is_taken_from_disk_whatever_it_holds_but_never_downloaded(folder):
    path = folder / "tiny" / "t10k-images-idx3-ubyte.gz"
    damage_tamper(path)
    assert len(mnist.load_mnist(str(folder), variant="tampered").test) == 3
    damage_truncate(path)
    with pytest.raises(UserError, match="truncated"):
        mnist.load_mnist(str(folder), variant="tampered")
    path.unlink()
    with pytest.raises(UserError, match="variant 'tampered'.*leave out --variant"):
        mnist.load_mnist(str(folder), variant="tampered")


def test_known_hashes_are_of_mnists_real_files():
    """Runs where MNIST was downloaded; elsewhere there is nothing to compare with."""
    if not find(mnist.MNIST, DEFAULT_FOLDER, gunzip):
        pytest.skip("MNIST is not in data/downloads")
    real = data.load("mnist")
    assert real.train.inputs.shape == (60000, 1, 28, 28) and real.test.inputs.shape == (10000, 1, 28, 28)
    assert np.bincount(real.train.targets)[0] == 5923 and abs(real.train.inputs.mean()) < 1e-6
