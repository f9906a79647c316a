"""CIFAR-10 and CIFAR-100 in their official binary version, which needs no pickle."""

import os
from dataclasses import dataclass

import numpy as np

from data.archives import untar
from data.dataset import Raw, Split
from data.download import FileSet, data_folder, find, find_or_download
from utils.errors import UserError

__all__ = ["load_cifar10", "load_cifar100_fine", "load_cifar100_coarse", "parse_records"]

IMAGE_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Layout:
    """The archive, the folder that it unpacks to, and the files of records therein, the last of them for testing."""

    archive: FileSet
    records: FileSet
    labels_per_record: int


CIFAR10 = Layout(
    FileSet("cifar10", ("https://www.cs.toronto.edu/~kriz/",), (),
            {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}),
    FileSet("cifar-10-batches-bin", (), (), {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}),
    labels_per_record=1)
CIFAR100 = Layout(
    FileSet("cifar100", ("https://www.cs.toronto.edu/~kriz/",), (),
            {"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"}),
    FileSet("cifar-100-binary", (), (), {
        "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"}),
    labels_per_record=2)


def load_cifar10(data_dir=None, variant=None):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 3x32x32. Parameters as in `data.load`."""
    return _load(CIFAR10, data_dir, variant, label=0, num_classes=10)


def load_cifar100_fine(data_dir=None, variant=None):
    """CIFAR-100 with its 100 classes. Parameters as in `data.load`."""
    return _load(CIFAR100, data_dir, variant, label=1, num_classes=100)


def load_cifar100_coarse(data_dir=None, variant=None):
    """CIFAR-100 with its 20 superclasses, which the original code used. Parameters as in `data.load`."""
    return _load(CIFAR100, data_dir, variant, label=0, num_classes=20)


def _load(layout, data_dir, variant, label, num_classes):
    contents = _unpacked(layout, data_dir, variant)
    sets = [parse_records(content, name, layout.labels_per_record, label, num_classes)
            for name, content in contents.items()]
    train = Split(*(np.concatenate(arrays) for arrays in zip(*sets[:-1])))
    return Raw(train, Split(*sets[-1]), num_classes)


def _unpacked(layout, data_dir, variant):
    """{file name: content} of the files of records, unpacked on disk or from the archive."""
    inside = os.path.join(data_folder(data_dir), layout.archive.name)
    found = find(layout.records, inside, variant=variant) or find(layout.records, data_dir, variant=variant)
    if found:
        return found
    (name, archive), = find_or_download(layout.archive, data_dir, variant=variant).items()
    return untar(archive, layout.records.name, layout.records.sha256, name)


def parse_records(content, name, labels_per_record, label, num_classes):
    """The images and labels of a file of records: one or more label bytes, then 3,072 bytes, red, green, blue.

    Parameters
    ----------
    content : bytes
    name : str
        for the error's text
    labels_per_record : int
        1 in CIFAR-10; 2 in CIFAR-100, the coarse and the fine one
    label : int
        which of them to take
    num_classes : int
        labels are below it

    Returns
    -------
    tuple
        images, uint8, (images, 3, 32, 32), and labels, uint8, (images,)

    Raises
    ------
    UserError
        if the length is not that of whole records, or a label is not one.
    """
    length = labels_per_record + int(np.prod(IMAGE_SHAPE))
    if not content or len(content) % length:
        raise UserError(f"{name} is truncated or of another format: {len(content)} bytes are not records of {length}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    labels = records[:, label]
    if labels.max() >= num_classes:
        raise UserError(f"{name} holds a label of {labels.max()}, more than there are classes: it is damaged or of "
                        "another format")
    return records[:, labels_per_record:].reshape(-1, *IMAGE_SHAPE), labels
