"""What the files of a run hold: each described once, and checked against that when it is read.

Fields that are not named here are kept as they are: a method has columns and values of its own. Runs of format 1 are
checked twice: for what their conversion needs, and as format 2 after it.
"""

import math
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from utils.errors import UserError

__all__ = ["FORMAT", "Baselines", "Checkpoint", "Config", "ConfigOfFormat1", "GradientVariance", "Network", "Summary",
           "SummaryOfFormat1", "Thresholds", "check", "check_format", "check_history"]

#: Of `config.json`, `summary.json`, `network.json` and the checkpoint's meta. 1 had titles in the place of names, no
#: sections, and checkpoints by position.
FORMAT = 2

Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(min_length=1, max_length=1000)]
# Larger ones have no float of their own, and are none of a run's.
Count = Annotated[int, Meta(ge=0, le=2 ** 53)]
Positive = Annotated[int, Meta(ge=1, le=2 ** 53)]
Seed = Annotated[int, Meta(ge=0, lt=2 ** 32)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
AboveZero = Annotated[float, Meta(gt=0)]
Format = Annotated[int, Meta(ge=1)]


class _Named(TypedDict):
    name: Name


class _Dataset(_Named):
    title: NotRequired[Text]
    fingerprint: NotRequired[Text]
    preprocessing: NotRequired[Name | None]
    augment: NotRequired[bool | None]
    shift: NotRequired[Positive | None]
    random_labels: NotRequired[bool | None]
    validation: NotRequired[Positive | None]
    variant: NotRequired[Text | None]
    vocabulary: NotRequired[Positive | None]
    length: NotRequired[Positive | None]
    part: NotRequired[Share | None]


class _Training(TypedDict):
    epochs: Positive
    seed: Seed
    batch_size: NotRequired[Positive]
    l2: NotRequired[NotNegative]
    plain_graph: NotRequired[bool]


class _Recipe(TypedDict):
    """What a run's files say of another one, that it started from or learned from."""

    experiment: NotRequired[Name | None]
    network: Name
    k: AboveZero
    method: Name
    start: Name
    dataset_title: Name
    epochs: Positive
    flags: dict[str, Any]
    start_recipe: "_Recipe | None"
    teacher_recipe: "_Recipe | None"


class _Start(TypedDict):
    name: NotRequired[Name]
    title: NotRequired[Text]
    init_from: NotRequired[Text | None]
    pretrain: NotRequired[list[Name] | None]


class _Settings(TypedDict):
    experiment: Name
    network: Name
    network_title: Name
    k: AboveZero
    units: NotRequired[Positive | None]
    embedding: NotRequired[Positive | None]
    method: _Named
    dataset: _Dataset
    training: _Training
    start: NotRequired[_Start]


class _Origin(TypedDict):
    environment: NotRequired[dict[str, Text]]
    command: NotRequired[Text]
    version: NotRequired[Text]
    git_commit: NotRequired[Text | None]
    started: NotRequired[Text]


class Config(_Origin):
    """`config.json`."""

    format: Format
    settings: _Settings
    method_title: NotRequired[Name]
    prunes: NotRequired[bool]
    start_recipe: NotRequired[_Recipe | None]
    resumed: NotRequired[list[_Origin]]


class _SettingsOfFormat1(TypedDict):
    experiment: Name
    network: Name
    method: Name
    dataset: Name
    data: NotRequired[Text]
    epochs: Positive
    seed: Seed
    batch_size: Positive


class ConfigOfFormat1(_Origin):
    """The same, of old."""

    settings: _SettingsOfFormat1


class _Counts(TypedDict):
    before: Count
    left: Count


class _Units(TypedDict):
    before: list[Count]
    left: list[Count]


class _Structure(TypedDict):
    units: _Units
    multiplications: _Counts
    weights: _Counts


class Summary(TypedDict):
    """`summary.json`."""

    format: NotRequired[Format]
    experiment: NotRequired[Name]
    network: Name
    network_title: Name
    k: AboveZero
    method: Name
    method_title: Name
    prunes: bool
    dataset: Name
    dataset_title: Name
    random_labels: bool
    validation: Positive | None
    start: Name
    start_title: Name
    start_recipe: NotRequired[_Recipe | None]
    teacher_recipe: NotRequired[_Recipe | None]
    seed: Seed
    epochs: Positive
    flags: dict[str, Any]
    flags_shown: Text
    threshold: NotRequired[float | None]
    test_error_percent: Percent
    train_error_percent: Percent
    final_train_error_percent: NotRequired[Percent]
    test_nll: float
    weights: dict[Name, Positive]
    nonzero: dict[Name, Count]
    sparsity_percent: dict[Name, Percent]
    sparsity_percent_total: Percent
    compression: AboveZero | None
    compression_by_layer: dict[Name, AboveZero | None]
    structure: NotRequired[_Structure | None]
    valid_error_percent: NotRequired[Percent]
    valid_nll: NotRequired[float]
    valid_bits: NotRequired[float]
    test_bits: NotRequired[float]
    valid_perplexity: NotRequired[float]
    test_perplexity: NotRequired[float]
    parts: NotRequired[dict[Name, _Counts]]
    best_epoch: NotRequired[Positive]
    seconds: NotNegative
    git_commit: Text | None


class SummaryOfFormat1(TypedDict):
    """The same, of old: what its conversion needs."""

    network: Name
    method: Name
    dataset: Name
    start: NotRequired[Name]
    flags: NotRequired[list[Text]]
    weights: dict[Name, Positive]
    nonzero: dict[Name, Count]


class _Row(TypedDict):
    epoch: Annotated[float, Meta(ge=1)]
    learning_rate: NotNegative
    train_loss: float
    test_loss: float
    train_nll: float
    test_nll: float
    train_error_percent: Percent
    test_error_percent: Percent
    compression: AboveZero
    seconds: NotNegative


class _GeneratorState(TypedDict):
    state: Annotated[int, Meta(ge=0)]
    inc: Annotated[int, Meta(ge=0)]


class _Generator(TypedDict):
    bit_generator: Literal["PCG64"]
    state: _GeneratorState
    has_uint32: Annotated[int, Meta(ge=0, le=1)]
    uinteger: Seed


class Checkpoint(TypedDict):
    """`meta` in `checkpoint.npz`, beside the arrays."""

    format: Format
    epoch: Positive
    settings: dict[str, Any]
    history: list[dict[str, float]]
    generator: _Generator


class _Layer(_Named):
    kind: Name
    shape: Annotated[list[Positive], Meta(min_length=1)]


class Network(TypedDict):
    """`network.json`; whether the layers make a network, :func:`utils.export.network.check` finds out."""

    format: NotRequired[Format]
    layers: Annotated[list[_Layer], Meta(min_length=1)]


class _Baseline(TypedDict):
    test_accuracy: Share
    sparsity_percent: Percent


#: `baselines.json`
Baselines = dict[Name, _Baseline]


class _Variance(TypedDict):
    epoch: Count
    layer: Name
    additive: NotNegative
    multiplicative: NotNegative


class GradientVariance(TypedDict):
    """`gradient_variance.json`."""

    rows: list[_Variance]


class _Threshold(TypedDict):
    threshold: float
    error_percent: Percent
    compression: AboveZero | None
    nonzero: Count
    # Of runs on texts, whose other figures are of validation data.
    test_error_percent: NotRequired[Percent]
    bits: NotRequired[AboveZero]
    test_bits: NotRequired[AboveZero]
    perplexity: NotRequired[AboveZero]
    test_perplexity: NotRequired[AboveZero]


class Thresholds(TypedDict):
    """`thresholds.json`."""

    images: Text
    thresholds: list[_Threshold]
    edges: list[float]
    histogram: dict[Name, list[Count]]


def check(value, kind, path):
    """`value`, unchanged.

    Parameters
    ----------
    value : of JSON's types
    kind : one of this module's descriptions
    path : str
        of the file that it comes from

    Raises
    ------
    UserError
        if it is not as described; names the file and the field.
    """
    try:
        msgspec.convert(value, kind)
        if kind is Summary:
            _check_layers(value)
            _check_values(value)
        elif kind is Checkpoint:
            _check_checkpoint(value)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not as this project writes it ({error}): restore it from a copy, or remove "
                        "it") from None
    return value


def check_format(value, path):
    """The number of a file's format; :class:`UserError` if it is none, or newer than this version's."""
    found = value.get("format", 1)
    if type(found) is not int or found < 1:
        raise UserError(f"{path} is not as this project writes it (format {str(found)[:100]}): restore it from a copy, "
                        "or remove it")
    if found > FORMAT:
        raise UserError(f"{path} is of format {found}, and this version of the project reads formats up to {FORMAT}: "
                        "read it with the version that wrote it")
    return found


def check_history(rows, path):
    """Rows of epochs, {column: float}, unchanged; checked like :func:`check`."""
    try:
        _check_rows(rows)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{path} is not as this project writes it ({error}): restore it from a copy, or remove the "
                        "run's folder") from None
    return rows


def _check_rows(rows):
    msgspec.convert(rows, list[_Row])
    for number, row in enumerate(rows, 1):
        if row["epoch"] != number:
            raise ValueError(f"row {number} is of epoch {row['epoch']:g}")
        if row.keys() != rows[0].keys():
            raise ValueError(f"row {number} has other columns than row 1")
        # A wholly pruned network's compression is infinite.
        bad = [name for name, value in row.items() if not math.isfinite(value) and name != "compression"]
        if bad or math.isnan(row["compression"]):
            raise ValueError(f"{(bad or ['compression'])[0]} of epoch {number} is not finite")


def _check_layers(summary):
    names = list(summary["weights"])
    for field in ("nonzero", "sparsity_percent", "compression_by_layer"):
        if list(summary[field]) != names:
            raise ValueError(f"{field} is of other layers than weights")
    if not names or any(summary["nonzero"][name] > summary["weights"][name] for name in names):
        raise ValueError("more weights are not zero than there are")


def _check_values(summary):
    """What tables and figures take of some runs."""
    measures = [name for name in ("bits", "perplexity", "error_percent") if f"valid_{name}" in summary]
    if "parts" in summary and not measures or any(f"test_{name}" not in summary for name in measures):
        raise ValueError("parts of a network of texts without what was measured on validation and test data")
    try:
        # Of other methods, it may be one for each layer.
        float(summary["flags"].get("kl_weight", 1.0) if summary["method"] == "sparse-vd" else 1.0)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("the flag kl_weight is no number") from None


def _check_checkpoint(meta):
    _check_rows(meta["history"])
    if meta["epoch"] != len(meta["history"]):
        raise ValueError(f"{meta['epoch']} epochs with {len(meta['history'])} rows")
    if max(meta["generator"]["state"].values()) >= 2 ** 128:
        raise ValueError("the generator's state")
