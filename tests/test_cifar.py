import hashlib
from dataclasses import replace

import numpy as np
import pytest

import data
from data import cifar
from test_archives import tar
from utils.errors import UserError

LAYOUTS = {"cifar10": ("CIFAR10", 10), "cifar100-fine": ("CIFAR100", 100), "cifar100-coarse": ("CIFAR100", 20)}


def records(rng, count, label_limits):
    """A file of records in the official format, and what is in it."""
    labels = np.stack([rng.randint(0, limit, count) for limit in label_limits], axis=1).astype("uint8")
    images = rng.randint(0, 256, (count, 3, 32, 32)).astype("uint8")
    content = b"".join(label.tobytes() + image.tobytes() for label, image in zip(labels, images))
    return content, images, labels


@pytest.fixture(params=LAYOUTS)
def small(request, rng, tmp_path, monkeypatch):
    """A small data set in the official format, whose hashes take the official ones' place; in tmp_path, packed."""
    constant, num_classes = LAYOUTS[request.param]
    layout = getattr(cifar, constant)
    limits = (10,) if constant == "CIFAR10" else (20, 100)
    made = {name: records(rng, 4, limits) for name in layout.records.sha256}
    contents = {name: content for name, (content, _, _) in made.items()}
    packed = tar(layout.records.name, contents)
    archive_name, = layout.archive.sha256
    monkeypatch.setattr(cifar, constant, replace(
        layout,
        archive=replace(layout.archive, sha256={archive_name: hashlib.sha256(packed).hexdigest()}),
        records=replace(layout.records, sha256={name: hashlib.sha256(content).hexdigest()
                                                for name, content in contents.items()})))
    (tmp_path / layout.archive.name).mkdir()
    path = tmp_path / layout.archive.name / archive_name
    path.write_bytes(packed)
    return request.param, made, path, num_classes, layout.records.name, contents


def unpack(small, tmp_path, below):
    name, made, path, num_classes, folder, contents = small
    path.unlink()
    for name, content in contents.items():
        (tmp_path / below / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / below / folder / name).write_bytes(content)
    return tmp_path / below / folder / name


def load(small, tmp_path, variant=None):
    # Without whitening, which takes long even for a few images.
    return data.load(small[0], str(tmp_path), "mean-image", variant=variant)


@pytest.mark.parametrize("below", [None, "", "cifar"])
def test_images_and_labels_are_read_from_the_archive_and_from_unpacked_files(small, tmp_path, below):
    name, made, path, num_classes = small[:4]
    if below is not None:
        unpack(small, tmp_path, below and path.parent.name)
    raw = data.DATASETS[name].loader(str(tmp_path), None)
    label = 1 if name == "cifar100-fine" else 0
    *train, test = made.values()
    np.testing.assert_array_equal(raw.train.inputs, np.concatenate([images for _, images, _ in train]))
    np.testing.assert_array_equal(raw.train.targets, np.concatenate([labels[:, label] for _, _, labels in train]))
    np.testing.assert_array_equal(raw.test.inputs, test[1])
    np.testing.assert_array_equal(raw.test.targets, test[2][:, label])
    assert raw.num_classes == num_classes


def test_a_tampered_archive_is_refused_by_name(small, tmp_path):
    path = small[2]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"{path.name}.*delete or replace"):
        load(small, tmp_path)


def test_a_tampered_file_of_records_is_refused_unless_it_is_called_a_variant(small, tmp_path):
    path = unpack(small, tmp_path, "")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=path.name):
        load(small, tmp_path)
    assert load(small, tmp_path, "one bit off").name == f"{small[0]} (one bit off)"


@pytest.mark.parametrize("change, text", [
    (lambda content: content[:-1], "truncated"), (lambda content: b"", "truncated"),
    (lambda content: b"\xff" + content[1:], "label of 255")])
def test_what_is_no_file_of_records_is_refused(rng, change, text):
    content, _, _ = records(rng, 3, (10,))
    with pytest.raises(UserError, match=f"some-file .*{text}"):
        cifar.parse_records(change(content), "some-file", 1, 0, 10)


def test_an_archive_without_the_files_is_refused(small, tmp_path):
    small[2].write_bytes(tar("elsewhere", small[5]))
    with pytest.raises(UserError, match="does not hold what it should"):
        load(small, tmp_path, "another")
