"""Values that change from epoch to epoch. An epoch's number is how many were completed before it: the first is 0.

Each can be stretched to another number of epochs, and stored: `stored(schedule)` is a dict for JSON, `restored` the way
back.
"""

import math
from dataclasses import asdict, dataclass, is_dataclass, replace

__all__ = ["Constant", "LinearDecay", "LinearWarmUp", "DroppingDecay", "InverseDecay", "stored", "restored"]


@dataclass(frozen=True)
class Constant:
    """The same value at each epoch."""

    value: float

    def __call__(self, epoch):
        return self.value

    def starting_at(self, value):
        """The same from another first value."""
        return Constant(value)

    def stretched(self, factor):
        """The same, however many epochs there are."""
        return self


class _Schedule:
    """Of those that change with the epoch."""

    #: The fields that are epochs.
    EPOCHS = ("begin", "end")

    def stretched(self, factor):
        """The same for `factor` times as many epochs."""
        return replace(self, **{name: getattr(self, name) * factor for name in self.EPOCHS})


class _Rate(_Schedule):
    """Of those that begin at `initial`."""

    def starting_at(self, value):
        """The same from another first value."""
        return replace(self, initial=value)


@dataclass(frozen=True)
class LinearDecay(_Rate):
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
class LinearWarmUp(_Schedule):
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


@dataclass(frozen=True)
class DroppingDecay(_Rate):
    """`initial` up to epoch `drop`; from there a tenth of it, from epoch `begin` on linear to 0 at epoch `end`.

    A training, and a retraining at a lower rate.
    """

    initial: float
    drop: float
    begin: float
    end: float

    EPOCHS = ("drop", "begin", "end")

    def __call__(self, epoch):
        return self.initial if epoch < self.drop else LinearDecay(self.initial / 10, self.begin, self.end)(epoch)


@dataclass(frozen=True)
class InverseDecay(_Rate):
    """`initial` (1 + rate epoch)^-power, Caffe's "inv"; at epoch `restart` it begins again."""

    initial: float
    rate: float
    power: float
    restart: float

    EPOCHS = ("restart",)

    def stretched(self, factor):
        return replace(super().stretched(factor), rate=self.rate / factor)

    def __call__(self, epoch):
        passed = epoch if epoch < self.restart else epoch - self.restart
        return self.initial * (1 + self.rate * passed) ** -self.power


_KINDS = {kind.__name__: kind for kind in (Constant, LinearDecay, LinearWarmUp, DroppingDecay, InverseDecay)}


def stored(value):
    """A schedule as a dict with its kind under "schedule"; any other value as it is."""
    if is_dataclass(value) and type(value).__name__ in _KINDS:
        return {"schedule": type(value).__name__, **asdict(value)}
    return value


def restored(value):
    """What `stored` was given.

    Raises
    ------
    ValueError
        if the dict is of no schedule.
    """
    if not (isinstance(value, dict) and "schedule" in value):
        return value
    fields = dict(value)
    kind = fields.pop("schedule")
    try:
        fields = {name: float(number) for name, number in fields.items()}
        if not all(map(math.isfinite, fields.values())):
            raise ValueError("not finite")
        return _KINDS[kind](**fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{value} is no schedule ({error})") from None
