import lasagne
import numpy as np
import pytest
from lasagne.layers import InputLayer, get_output

from nets.layers.dense import DenseLayer


@pytest.mark.parametrize("b", [lasagne.init.Constant(0.5), None], ids=["biases", "no biases"])
def test_output_is_that_of_lasagnes_layer(graph, b, rng, float64, evaluate):
    input = InputLayer((None, 2, 3, 4))
    layer = DenseLayer(input, 5, b=b, nonlinearity=lasagne.nonlinearities.tanh)
    expected = lasagne.layers.DenseLayer(input, 5, W=layer.W, b=layer.b, nonlinearity=lasagne.nonlinearities.tanh)
    outputs = [get_output(layer), get_output(expected)]
    np.testing.assert_allclose(*evaluate(outputs, {input.input_var: rng.normal(size=(6, 2, 3, 4))}), rtol=1e-12)
    assert [param.name for param in layer.get_params()] == [param.name for param in expected.get_params()]
