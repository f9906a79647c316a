import lasagne
import numpy as np
import pytest
from lasagne.layers import InputLayer, get_output

from nets import kernels
from nets.layers.dense import DenseLayer


@pytest.mark.parametrize("plain", [False, True], ids=["ops", "plain"])
@pytest.mark.parametrize("b", [lasagne.init.Constant(0.5), None], ids=["biases", "no biases"])
def test_output_is_that_of_lasagnes_layer(plain, b, rng, float64, evaluate):
    input = InputLayer((None, 2, 3, 4))
    layer = DenseLayer(input, 5, b=b, nonlinearity=lasagne.nonlinearities.tanh)
    expected = lasagne.layers.DenseLayer(input, 5, W=layer.W, b=layer.b, nonlinearity=lasagne.nonlinearities.tanh)
    images = rng.normal(size=(6, 2, 3, 4))
    kernels.use_plain_graph(plain)
    try:
        found = evaluate(get_output(layer), {input.input_var: images})
    finally:
        kernels.use_plain_graph(False)
    np.testing.assert_allclose(found, evaluate(get_output(expected), {input.input_var: images}), rtol=1e-12)
    assert [param.name for param in layer.get_params()] == [param.name for param in expected.get_params()]
