import numpy as np
import pytest

from data import preprocessing
from utils import files


@pytest.fixture
def images(rng):
    """Correlated 2x4x4 colour images, as training and test set."""
    mixing = rng.normal(size=(32, 32))
    values = np.tanh(rng.normal(size=(600, 32)) @ mixing / 8)
    return np.split(np.rint(127.5 * (values + 1)).astype("uint8").reshape(600, 2, 4, 4), [500])


def test_after_zca_the_training_covariance_is_the_identity(images, tmp_path):
    train, test = preprocessing.zca(*images, str(tmp_path), regularization=0.0)
    flat = train.reshape(500, 32).astype("float64")
    assert train.dtype == test.dtype == np.float32
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.T @ flat / 500, np.eye(32), atol=1e-3)


def test_zca_is_the_symmetric_whitening_fitted_on_the_training_set_only(images, tmp_path):
    pixels = [array.reshape(len(array), 32) / 256 for array in images]
    mean = pixels[0].mean(0)
    covariance = np.cov((pixels[0] - mean).T, bias=True)
    # The only symmetric positive definite matrix whose square is the inverse of the regularized covariance.
    train, test = preprocessing.zca(*images, str(tmp_path), regularization=0.01)
    matrix = np.linalg.lstsq(pixels[0] - mean, train.reshape(500, 32), rcond=None)[0]
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > 0
    np.testing.assert_allclose(matrix @ matrix @ (covariance + 0.01 * np.eye(32)), np.eye(32), atol=1e-3)
    np.testing.assert_allclose(test.reshape(100, 32), (pixels[1] - mean) @ matrix, atol=1e-3)


def test_the_whitening_is_kept_by_content(images, tmp_path, monkeypatch):
    first = preprocessing.zca(*images, str(tmp_path / "cache"))
    kept, = (tmp_path / "cache").iterdir()

    def refuse(*arguments):
        raise AssertionError("computed again")
    with monkeypatch.context() as context:
        context.setattr(preprocessing, "_whitening", refuse)
        np.testing.assert_array_equal(preprocessing.zca(*images, str(tmp_path / "cache"))[1], first[1])
        changed = images[0].copy()
        changed[0, 0, 0, 0] ^= 1
        for arguments in ((changed, images[1], str(tmp_path / "cache")), (*images, str(tmp_path / "cache"), 0.1)):
            with pytest.raises(AssertionError):
                preprocessing.zca(*arguments)
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(preprocessing.zca(*images, str(tmp_path / "cache"))[1], first[1])
    assert files.read_arrays(kept)["whitening"].shape == (32, 32)


def test_without_a_place_for_the_cache_it_works_and_says_so(images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    preprocessing.zca(*images, str(tmp_path / "file" / "cache"))
    assert "not kept" in capsys.readouterr().err


def test_preprocessing_leaves_the_files_content_alone(images, tmp_path):
    before = [array.copy() for array in images]
    preprocessing.zca(*images, str(tmp_path))
    preprocessing.mean_image(*images)
    for array, copy in zip(images, before):
        np.testing.assert_array_equal(array, copy)
