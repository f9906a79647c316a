import numpy as np
import pytest
import theano.tensor as T
from lasagne.nonlinearities import tanh

from nets import kernels


def test_other_nonlinearities_and_no_biases(evaluate, rng):
    inputs = T.dmatrices(3)
    values = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3)), rng.normal(size=(4, 3))
    found = evaluate(kernels.sample(*inputs, None, 1e-8, tanh), dict(zip(inputs, values)))
    np.testing.assert_allclose(found, np.tanh(values[0] + np.sqrt(values[1] + 1e-8) * values[2]), rtol=1e-9)


def test_it_leaves_operands_alone_that_others_need(evaluate, rng):
    inputs = T.dmatrices(3)
    values = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3)), rng.normal(size=(4, 3))
    doubled = 2 * inputs[0]
    found, kept = evaluate([kernels.sample(doubled, *inputs[1:], None, 1e-8), doubled], dict(zip(inputs, values)))
    np.testing.assert_array_equal(kept, 2 * values[0])
    np.testing.assert_allclose(found, 2 * values[0] + np.sqrt(values[1] + 1e-8) * values[2], rtol=1e-12)


def test_operands_that_do_not_fit(evaluate):
    inputs, b = T.dmatrices(3), T.dvector()
    result = kernels.sample(*inputs, b, 1e-8)
    for lengths, biases in (((5, 2, 5), 5), ((5, 5, 5), 4)):
        values = [np.zeros((4, length)) for length in lengths]
        with pytest.raises(ValueError, match="one shape|channels"):
            evaluate(result, dict(zip([*inputs, b], [*values, np.zeros(biases)])))


def test_operands_of_other_types():
    with pytest.raises(ValueError, match="three arrays of floats and a vector"):
        kernels.sample(T.dmatrix(), T.dmatrix(), T.fmatrix(), T.dvector(), 1e-8)
    with pytest.raises(ValueError, match="three arrays of floats and a vector"):
        kernels.sample(T.dmatrix(), T.dmatrix(), T.dmatrix(), T.dmatrix(), 1e-8)
