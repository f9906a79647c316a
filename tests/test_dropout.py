import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

from conftest import QUICK
from nets.layers.dropout import BinaryDropoutLayer


def outputs(p, shape, deterministic=False):
    """A function of images that gives the layer's output and the gradient of its sum."""
    lasagne.random.set_rng(np.random.RandomState(1))
    x = T.TensorType("float32", (False,) * len(shape))()
    output = BinaryDropoutLayer((None, *shape[1:]), p).get_output_for(x, deterministic=deterministic)
    return theano.function([x], [output, T.grad(T.sum(output), x, disconnected_inputs="ignore")], mode=QUICK)


@pytest.mark.parametrize("p", [0.3, 0.9])
def test_the_rate_is_p_and_the_rest_is_scaled(graph, p, rng):
    images = rng.uniform(1, 2, (200, 10, 10, 10)).astype("float32")
    function = outputs(p, images.shape)
    found, gradient = function(images)
    assert found.dtype == "float32"
    dropped = found == 0
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / images.size)
    np.testing.assert_allclose(found, np.where(dropped, 0, images / (1 - p)), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.where(dropped, 0, 1 / (1 - p)), rtol=1e-5)
    # Others each time; neighbours and images do not go together.
    again = function(images)[0] == 0
    for a, b in ((dropped, again), (dropped[1:], dropped[:-1]), (dropped[..., 1:], dropped[..., :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_prediction_keeps_everything(graph, rng):
    images = rng.normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(outputs(0.5, images.shape, deterministic=True)(images)[0], images)
