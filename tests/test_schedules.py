import pytest

from nets.schedules import LinearDecay, LinearWarmUp


@pytest.mark.parametrize("epoch, expected", [(0, 1e-3), (99, 1e-3), (100, 1e-3), (101, 0.99e-3), (150, 0.5e-3),
                                             (199, 1e-5), (200, 0.0), (201, 0.0)])
def test_learning_rate_of_lenet_300_100(epoch, expected):
    assert LinearDecay(1e-3, begin=100, end=200)(epoch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epoch, expected", [(0, 1e-3), (1, 0.995e-3), (100, 0.5e-3), (200, 0.0)])
def test_decay_from_the_start(epoch, expected):
    assert LinearDecay(1e-3, begin=0, end=200)(epoch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epoch, expected", [(0, 0), (4, 0), (5, 0), (6, 1 / 15), (19, 14 / 15), (20, 1), (200, 1)])
def test_kl_warm_up(epoch, expected):
    assert LinearWarmUp(5, 20)(epoch) == pytest.approx(expected, rel=1e-12)


def test_schedules_without_length():
    assert LinearWarmUp(0, 0)(0) == 0 and LinearWarmUp(0, 0)(1) == 1
    assert LinearDecay(1.0, 0, 0)(0) == 1 and LinearDecay(1.0, 3, 3)(3) == 1
