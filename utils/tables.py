"""What the user reads while a run goes on and when it ends: a row an epoch, the final table beside the paper's."""

import math

from tabulate import tabulate

from utils import compression, published, results
from utils.runs import sparsity_columns

__all__ = ["EpochTable", "final_table", "structure_table", "summarize", "format_compression", "format_sparsity",
           "format_units", "format_multiplications", "column", "text_cells", "text_table", "published_text_cells"]

HEADERS = ("Network", "Method", "Error %", "Train error %", "Sparsity per layer %", "Compression")


class EpochTable:
    """Aligned rows, one an epoch; the first one brings the header.

    Parameters
    ----------
    epochs : int
        how many there will be
    terms : list of (name, title)
        of the objective beside the data's
    prunes : bool
        whether sparsity and compression are shown
    columns : sequence with `key`, `header`, `format`
        the method's own
    """

    HEADER_EVERY = 40
    MOST_LAYERS = 6  # whose sparsity finds room in a row

    def __init__(self, epochs, terms=(), prunes=False, columns=()):
        self._epochs = epochs
        self._terms = terms
        self._prunes = prunes
        self._columns = columns
        self._lines = 0

    def line(self, row):
        """The text for a row of the history, preceded by the header where one is due."""
        layers = sparsity_columns(row)
        cells = {"epoch": f"{row['epoch']}/{self._epochs}".rjust(7), "rate": f"{row['learning_rate']:.1e}"}
        cells.update((f"{title} wt", f"{row[name + '_weight']:5.2f}") for name, title in self._terms)
        cells.update({
            "train loss": f"{row['train_loss']:10.4f}", "test loss": f"{row['test_loss']:9.4f}",
            "train err%": f"{row['train_error_percent']:10.2f}", "test err%": f"{row['test_error_percent']:9.2f}"})
        cells.update((title, f"{row[name]:9.0f}") for name, title in self._terms)
        cells.update((column.header, f"{row[column.key]:{column.format}}") for column in self._columns)
        if self._prunes:
            if len(layers) <= self.MOST_LAYERS:
                cells.update((f"{layer} sp%", f"{row[column]:{len(layer) + 4}.1f}") for layer, column in layers.items())
            else:
                cells["sparsity%"] = f"{100 - 100 / row['compression']:9.2f}"
            cells["compr."] = f"{row['compression']:6.1f}"
        cells["sec"] = f"{row['seconds']:5.1f}"
        text = "  ".join(cells.values())
        if self._lines % self.HEADER_EVERY == 0:
            text = "  ".join(name.rjust(len(cell)) for name, cell in cells.items()) + "\n" + text
        self._lines += 1
        return text


def summarize(history, layers, test, final_train):
    """The numbers of a finished run in one dict, for `summary.json`.

    Parameters
    ----------
    history : list of dict
        its last epoch's training error is kept, whichever epoch's weights are
    layers : list of :class:`utils.compression.LayerSparsity`
    test, final_train : with `nll` and `error_percent`
        of the finished network on the test set and on the training set; the history's training error is of noisy
        predictions, averaged over the epoch

    Returns
    -------
    dict
        JSON's types only; a compression is None where no weight is left
    """
    total = compression.total(layers)
    return {
        "test_error_percent": test.error_percent, "train_error_percent": history[-1]["train_error_percent"],
        "test_nll": test.nll, "final_train_error_percent": final_train.error_percent,
        "sparsity_percent": {layer.name: layer.sparsity_percent for layer in layers},
        "nonzero": {layer.name: layer.nonzero for layer in layers},
        "weights": {layer.name: layer.weights for layer in layers},
        "sparsity_percent_total": total.sparsity_percent,
        "compression": _finite(total.compression),
        "compression_by_layer": {layer.name: _finite(layer.compression) for layer in layers},
        "seconds": round(sum(row["seconds"] for row in history), 1),
    }


def final_table(summary):
    """The text of a run's result, with the paper's rows for the same network and method under it."""
    rows = [_cells(summary["network_title"], f"{summary['method_title']}, this run, {summary['dataset_title']}",
                   summary["test_error_percent"], summary["final_train_error_percent"],
                   summary["sparsity_percent"].values(), summary["compression"])]
    for row in published.rows(summary["network"], summary["k"], summary["method"]):
        rows.append(_cells(row.network_title, f"{row.method_title}, paper, {row.dataset}", row.error_percent, None,
                           row.sparsity_percent, row.compression))
    return tabulate(rows, HEADERS, stralign="left", disable_numparse=True)


#: Of texts: what is measured on validation and test data, and the digits that it is shown with.
MEASURES = {"bits": ("bits", 3), "perplexity": ("perplexity", 1), "error_percent": ("error %", 2)}
PARTS = ("words", "dimensions", "neurons", "gates")
TEXT_HEADERS = ("Validation", "Test", "Words left", "Dimensions", "Neurons", "Gates", "Compression")


def text_cells(summaries):
    """The cells under `TEXT_HEADERS` of runs on texts that differ in the seed alone."""
    key = next(key for key in MEASURES if f"valid_{key}" in summaries[0])
    title, digits = MEASURES[key]
    cells = [f"{column([summary[f'{part}_{key}'] for summary in summaries], digits)} {title}"
             for part in ("valid", "test")]
    left = [{("words" if name == "symbols" else name): count["left"] for name, count in summary["parts"].items()}
            for summary in summaries]
    cells += [column([own[name] for own in left], 0) if name in left[0] else "" for name in PARTS]
    numbers = [summary["compression"] for summary in summaries]
    return [*cells, column(numbers, 1 if all(number and 1 < number < 9.95 for number in numbers) else 0, "x")]


def published_text_cells(row):
    """The same of one of `published.TEXTS`."""
    title, digits = MEASURES[row.measure]
    return [f"{row.valid:.{digits}f} {title}", f"{row.test:.{digits}f} {title}",
            *("" if getattr(row, name) is None else f"{getattr(row, name):,}" for name in PARTS),
            format_compression(row.compression)]


def text_table(summary):
    """The text of the result of a run on a text or documents, with the authors' rows of the same method under it."""
    who = f"{summary['network_title']}, {summary['method_title']}"
    rows = [(f"{who}, this run, {summary['dataset_title']}", *text_cells([summary]))]
    rows += [(f"{row.network_title}, {row.method_title}, authors' log, {row.dataset}", *published_text_cells(row))
             for row in published.TEXTS if (row.network, row.method_title) == (summary["network"],
                                                                              summary["method_title"])]
    sparsity = ", ".join(f"{name} {value:.1f}" for name, value in summary["sparsity_percent"].items())
    best = f"\nAfter epoch {summary['best_epoch']}, the best on validation data." if "best_epoch" in summary else ""
    return (tabulate(rows, ("", *TEXT_HEADERS), stralign="left", disable_numparse=True)
            + f"\nSparsity %: {sparsity}" + best)


def structure_table(summary):
    """The text of what compaction leaves of a run's network, with what papers report of the same network under it."""
    found = summary["structure"]
    before, left = (found["multiplications"][key] for key in ("before", "left"))
    rows = [(f"{summary['method_title']}, this run", format_units(found["units"]["before"]),
             format_units(found["units"]["left"]), format_multiplications(left, before))]
    rows += [(f"{row.method_title}, paper", format_units(row.units_before), format_units(row.units),
              format_multiplications(row.multiplications, row.multiplications_before))
             for row in published.UNITS if (row.network, row.method) == (summary["network"], summary["method"])]
    return tabulate(rows, ("Method", "Units", "Units left", "Multiplications an image"), stralign="left",
                    disable_numparse=True)


def format_units(units):
    """Numbers of units as text, such as 3-18-284-283."""
    return "-".join(map(str, units))


def format_multiplications(left, before):
    """How many multiplications are left, as text, such as 212,802 (10.8x fewer)."""
    return f"{left:,} ({before / left:.1f}x fewer)" if left < before else f"{left:,}"


def format_sparsity(percent):
    """The sparsities of layers, in percent, as text, such as 98.9 - 97.2 - 62.0."""
    return " - ".join(f"{value:.1f}" for value in percent)


def format_compression(value):
    """A compression as text, such as 1x, 5.7x or 68x; None and infinity are of a network without weights."""
    if value is None or math.isinf(value):
        return "all pruned"
    return f"{value:.{1 if 1 < value < 9.95 else 0}f}x"


def column(numbers, digits, unit=""):
    """The values of several runs as text: mean (standard deviation, where they differ).

    A None is a compression where nothing is left.
    """
    pruned = numbers.count(None)
    if pruned:
        return "all pruned" if pruned == len(numbers) else f"all pruned in {pruned} of {len(numbers)}"
    mean, deviation = results.mean_and_deviation(numbers)
    return f"{mean:.{digits}f}{unit}" + ("" if deviation is None else f" ({deviation:.{digits}f})")


def _finite(value):
    return value if math.isfinite(value) else None


def _cells(network, method, error_percent, train_error_percent, sparsity_percent, compression):
    errors = ("" if error is None else f"{error:.2f}" for error in (error_percent, train_error_percent))
    return network, method, *errors, format_sparsity(sparsity_percent), format_compression(compression)
