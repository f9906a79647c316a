import numpy as np
import pytest

from data import preprocessing
from data.preprocessing import PREPROCESSINGS, MeanImage, Zca
from utils import files
from utils.errors import UserError


@pytest.fixture
def images(rng):
    """Correlated 2x4x4 colour images, as training and test set."""
    mixing = rng.normal(size=(32, 32))
    values = np.tanh(rng.normal(size=(600, 32)) @ mixing / 8)
    return np.split(np.rint(127.5 * (values + 1)).astype("uint8").reshape(600, 2, 4, 4), [500])


@pytest.fixture(params=PREPROCESSINGS)
def fitted(request, images):
    return preprocessing.fit(request.param, images[0])


def test_the_mean_image_is_scikit_learns_scaler_without_scale(images):
    from sklearn.preprocessing import StandardScaler
    train, test = (array.reshape(len(array), 32) / 256 for array in images)
    scaler = StandardScaler(with_std=False).fit(train)
    transform = MeanImage.fit(images[0])
    for array, pixels in zip(images, (train, test)):
        np.testing.assert_allclose(transform(array).reshape(len(array), 32), scaler.transform(pixels), atol=1e-6)


def test_after_zca_the_training_covariance_is_the_identity(images):
    flat = Zca.fit(images[0], regularization=0.0)(images[0]).reshape(500, 32).astype("float64")
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.T @ flat / 500, np.eye(32), atol=1e-3)


@pytest.mark.parametrize("name, regularization, scale", [("zca", 1e-5, 1 / 256), ("zca-original", 1e-5, 1.0)])
def test_zca_is_the_inverse_square_root_of_the_regularized_covariance(images, name, regularization, scale):
    """By scipy, in float64. The original whitens the pixels themselves, of which a factor of 256 leaves no trace."""
    from scipy.linalg import inv, sqrtm
    train, test = (array.reshape(len(array), 32) * scale for array in images)
    root = sqrtm(np.cov(train.T, bias=True) + regularization * np.eye(32)).real
    found = preprocessing.fit(name, images[0])(images[1])
    np.testing.assert_allclose(found.reshape(100, 32), (test - train.mean(0)) @ inv(root), rtol=1e-3, atol=1e-3)


def test_zca_is_symmetric_and_positive_definite(images):
    matrix = Zca.fit(images[0], regularization=0.01).whitening.astype("float64")
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_a_fitted_transform_takes_any_set_of_images(fitted, images):
    """All at once, or one new image by itself; in chunks or not."""
    whole = fitted(images[1])
    assert whole.dtype == np.float32 and whole.shape == images[1].shape and whole.flags.c_contiguous
    np.testing.assert_allclose(fitted(images[1][7:8]), whole[7:8], rtol=1e-4, atol=1e-4)
    assert fitted(images[1][:0]).shape == (0, 2, 4, 4)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_chunks_leave_no_seam(images, name, monkeypatch):
    whole = preprocessing.fit(name, images[0])(images[0])
    monkeypatch.setattr(preprocessing, "_CHUNK", 7)
    np.testing.assert_allclose(preprocessing.fit(name, images[0])(images[0]), whole, rtol=1e-3, atol=1e-3)


def test_a_saved_transform_does_the_same(fitted, images, tmp_path):
    files.write_arrays(tmp_path / "preprocessing.npz", fitted.arrays())
    restored = preprocessing.from_arrays(files.read_arrays(tmp_path / "preprocessing.npz"))
    assert type(restored) is type(fitted)
    np.testing.assert_array_equal(restored(images[1]), fitted(images[1]))


@pytest.mark.parametrize("arrays", [{}, {"dense1.W": np.zeros(3)}, {"whitening": np.eye(2)},
                                    {"mean": np.zeros(3), "scale": np.zeros(3)}])
def test_other_arrays_are_no_transform(arrays):
    with pytest.raises(UserError, match="no preprocessing"):
        preprocessing.from_arrays(arrays)


@pytest.mark.parametrize("change", [lambda images: images / 256, lambda images: images[:, :1],
                                    lambda images: images[0], lambda images: images.reshape(-1, 2, 2, 8)])
def test_images_of_another_kind_are_refused(fitted, images, change):
    with pytest.raises(ValueError, match="the training set's were uint8 of shape"):
        fitted(change(images[1]))


def test_the_whitening_is_kept_by_content(images, tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    first = Zca.fit(images[0], cache).whitening
    kept, = (tmp_path / "cache").iterdir()

    def refuse(*arguments):
        raise AssertionError("computed again")
    with monkeypatch.context() as context:
        context.setattr(preprocessing, "_whitening", refuse)
        np.testing.assert_array_equal(Zca.fit(images[0], cache).whitening, first)
        changed = images[0].copy()
        changed[0, 0, 0, 0] ^= 1
        for arguments in ((changed, cache), (images[0], cache, 0.1), (images[0], None)):
            with pytest.raises(AssertionError):
                Zca.fit(*arguments)
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(Zca.fit(images[0], cache).whitening, first)
    assert files.read_arrays(kept)["whitening"].shape == (32, 32)


def test_the_matrix_of_an_earlier_version_is_found(tmp_path, monkeypatch):
    """By its file's name, which is of the content: of CIFAR it takes minutes to compute."""
    train = np.arange(2 * 1 * 2 * 2, dtype="uint8").reshape(2, 1, 2, 2)
    Zca.fit(train, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["zca-b2f03ddd094691ff39d09aeb56d6d518.npz"]


def test_without_a_place_for_the_cache_it_works_and_says_so(images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    Zca.fit(images[0], str(tmp_path / "file" / "cache"))
    assert "not kept" in capsys.readouterr().err


def test_the_files_content_stays_as_it_is(images):
    before = [array.copy() for array in images]
    for name in PREPROCESSINGS:
        preprocessing.fit(name, images[0])(images[1])
    for array, copy in zip(images, before):
        np.testing.assert_array_equal(array, copy)
