"""Values that change from epoch to epoch. An epoch's number is how many were completed before it: the first is 0."""

from dataclasses import dataclass, replace

__all__ = ["Constant", "LinearDecay", "LinearWarmUp"]


@dataclass(frozen=True)
class Constant:
    """The same value at each epoch."""

    value: float

    def __call__(self, epoch):
        return self.value

    def stretched(self, factor):
        """The same, however many epochs there are."""
        return self


class _Stretchable:
    """Of schedules with a beginning and an end."""

    def stretched(self, factor):
        """The same for `factor` times as many epochs."""
        return replace(self, begin=self.begin * factor, end=self.end * factor)


@dataclass(frozen=True)
class LinearDecay(_Stretchable):
    """`initial` up to epoch `begin`, from there linear to 0 at epoch `end`, then 0.

    The learning rate of the original's scripts; for LeNet-300-100 from 1e-3, begin 100, end 200.
    """

    initial: float
    begin: float
    end: float

    def __call__(self, epoch):
        if epoch <= self.begin:
            return self.initial
        if epoch >= self.end:
            return 0.0
        return self.initial * (self.end - epoch) / (self.end - self.begin)


@dataclass(frozen=True)
class LinearWarmUp(_Stretchable):
    """0 up to epoch `begin`, from there linear to 1 at epoch `end`, then 1.

    The weight of the KL term (paper, section 5); in the original's scripts begin is 5 and end 20.
    """

    begin: float
    end: float

    def __call__(self, epoch):
        if epoch <= self.begin:
            return 0.0
        if epoch >= self.end:
            return 1.0
        return (epoch - self.begin) / (self.end - self.begin)
