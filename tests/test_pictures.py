from types import SimpleNamespace

import numpy as np
import pytest
from lasagne.layers import InputLayer
from PIL import Image

from nets import methods
from nets.architectures import lenet_300_100, lenet_5_caffe
from nets.sparsity import EffectiveParams
from utils import files
from utils.pictures import Snapshots, thinned, tiled


@pytest.fixture
def run(tmp_path):
    return SimpleNamespace(path=lambda name: str(tmp_path / name))


def test_masked_weights_are_kept_and_drawn(run, tmp_path, rng):
    net = lenet_5_caffe(methods.make("sparse-vd"))
    first = net.input_layer.input_layer.input_layer.input_layer.input_layer
    assert first.name == "conv1"
    pictures = Snapshots(run, (1, 28, 28))
    for epoch in range(3):
        W = (rng.uniform(0.5, 2, (20, 1, 5, 5)) * rng.choice([-1, 1], (20, 1, 5, 5))).astype("float32")
        first.W.set_value(W)
        first.log_sigma2.set_value(np.where(W > 0, 20, -10).astype("float32"))
        pictures.take(epoch, EffectiveParams(net).named_values())
        kept = files.read_arrays(tmp_path / "snapshots" / f"epoch-{epoch:04d}.npz")
        np.testing.assert_array_equal(kept["filters"], np.where(W > 0, 0, W))
        assert kept["dense"].shape == (100, 100)
    paths = pictures.draw()
    assert sorted(path.rsplit("/", 1)[1] for path in paths) == ["dense.gif", "dense.png", "filters.gif", "filters.png"]
    with Image.open(tmp_path / "snapshots" / "filters.gif") as gif:
        assert gif.n_frames == 3 and gif.width >= 300
    with Image.open(tmp_path / "snapshots" / "filters.png") as png:
        assert png.width >= 3 * 300
        # Positive weights were pruned: red is nowhere, blue is.
        red, green, blue = np.moveaxis(np.asarray(png.convert("RGB")).astype(int), 2, 0)
        assert (blue - red).max() > 100 and (red - blue).max() < 20


def test_a_network_without_convolutions_shows_its_first_units_as_images(run, tmp_path):
    net = lenet_300_100(methods.make("dense"))
    pictures = Snapshots(run, (1, 28, 28))
    pictures.take(0, EffectiveParams(net).named_values())
    kept = files.read_arrays(tmp_path / "snapshots" / "epoch-0000.npz")
    dense1 = net.input_layer.input_layer
    assert kept["filters"].shape == (64, 1, 28, 28)
    np.testing.assert_array_equal(kept["filters"][5].ravel(), dense1.W.get_value()[:, 5])
    assert len(pictures.draw()) == 4


def test_a_wholly_pruned_network_is_drawn_white(run, tmp_path):
    method = methods.make("sparse-vd", log_sigma2=20.0)
    net = method.dense_layer(InputLayer((None, 1, 8, 8)), 10, nonlinearity=None, name="dense1")
    pictures = Snapshots(run, (1, 8, 8))
    pictures.take(0, EffectiveParams(net).named_values())
    pictures.draw()
    with Image.open(tmp_path / "snapshots" / "dense.png") as png:
        assert np.asarray(png)[40:100, 40:100].min() == 255


def test_filters_stand_in_a_grid_row_by_row():
    filters = np.arange(1, 6, dtype=float).reshape(5, 1, 1, 1) * np.ones((5, 2, 2, 2))
    picture = tiled(filters)
    assert picture.shape == (2 * 4, 3 * 4)
    assert [picture[2, 2], picture[2, 6], picture[2, 10], picture[6, 2], picture[6, 6], picture[6, 10]] == [1, 2, 3, 4,
                                                                                                        5, 0]


def test_thinning_keeps_the_first_and_the_last():
    assert thinned(list(range(200)), 4) == [0, 66, 133, 199] and thinned([1, 2], 4) == [1, 2]
