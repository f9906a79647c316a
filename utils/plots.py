"""Pictures of a run."""

import numpy as np
import seaborn
from matplotlib.figure import Figure

from utils import files, measures
from utils.runs import LEFT, sparsity_columns

__all__ = ["draw_curves", "draw_comparison", "draw_thresholds"]


#: How the mean of -log p becomes what language models are measured by, with the axis' title.
_MEASURES = {"bits": (measures.bits, "bits a character"), "perplexity": (measures.perplexity, "perplexity")}


def draw_curves(history, path, title, prunes=False, parts=None):
    """Draws error, loss and, of networks that are pruned, sparsity by layer and compression against the epoch, as PNG.

    The loss of language models is drawn as bits a character or perplexity.

    Parameters
    ----------
    history : list of dict
        a row an epoch, as in `history.csv`
    path : str
        where the picture goes
    title : str
    prunes : bool
        whether sparsity and compression are drawn
    parts : dict or None
        of recurrent networks: {name: how many there are}; what is pruned of them is drawn with the sparsity
    """
    epochs = [row["epoch"] for row in history]
    marker = "." if len(epochs) < 30 else None
    with seaborn.axes_style("whitegrid"), seaborn.color_palette("colorblind"):
        figure = Figure(figsize=(11, 7.5 if prunes else 4), layout="constrained")
        (errors, losses), *more = figure.subplots(1 + prunes, 2, sharex=True, squeeze=False)

        def plot(axes, key, label, **keywords):
            axes.plot(epochs, [row[key] for row in history], label=label, marker=marker, **keywords)

        splits = [("train", "train (in training)" if prunes else "train"), ("valid", "validation"),
                  ("test", "test (pruned weights)" if prunes else "test")]
        splits = [split for split in splits if f"{split[0]}_nll" in history[0]]
        for split, label in splits:
            plot(errors, f"{split}_error_percent", label)
        # The first epochs' errors would press all others together.
        usual = max(np.median([row[f"{part}_error_percent"] for row in history]) for part in ("train", "test"))
        errors.set(ylabel="error, %", ylim=(0, min(2.5 * usual + 2, 101)))
        measure = next((name for name in _MEASURES if f"test_{name}" in history[0]), None)
        convert, unit = _MEASURES.get(measure, (float, "nats per image" if len(splits) == 2 else "nats per document"))
        for split, label in splits:
            losses.plot(epochs, [convert(row[f"{split}_nll"]) for row in history], marker=marker,
                        label=label if measure else f"{split}, -log p(y | x)")
        losses.set(ylabel=unit, yscale="linear" if measure == "bits" else "log")
        errors.legend()
        if prunes:
            # The axis is logarithmic: an objective that is a log density, as soft weight-sharing's, has no place on it.
            if not measure and any(row["train_loss"] != row["train_nll"] for row in history) and all(
                    row["train_loss"] > 0 for row in history):
                plot(losses, "train_loss", "train, objective")
            (sparsities, compressions), = more
            layers = sparsity_columns(history[0])
            colors = seaborn.color_palette("viridis" if len(layers) > 10 else None, len(layers))
            for color, (layer, column) in zip(colors, layers.items()):
                plot(sparsities, column, layer, color=color)
            for number, (name, count) in enumerate((parts or {}).items()):
                sparsities.plot(epochs, [100 - 100 * row[f"{name}{LEFT}"] / count for row in history], label=name,
                                linestyle="--", marker=marker, color=f"C{len(layers) + number}")
            sparsities.set(ylabel="sparsity, %", ylim=(0, 101))
            sparsities.legend(fontsize="small", ncols=1 + (len(layers) + len(parts or ())) // 6)
            plot(compressions, "compression", "weights / non-zero weights")
            compressions.set(ylabel="compression", yscale="log")
            compressions.legend()
        losses.legend()
        for axes in (more[0] if prunes else (errors, losses)):
            axes.set(xlabel="epoch")
        figure.suptitle(title)
        with files.atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110)


def draw_comparison(ours, theirs, path, title):
    """Draws error and sparsity against the epoch, of our run and of one of the original, as PNG.

    Parameters
    ----------
    ours, theirs : list of dict
        a row an epoch with `epoch`, `test_error_percent`, `train_error_percent` and `sparsity_percent` (of all weights)
    path : str
    title : str
    """
    with seaborn.axes_style("whitegrid"), seaborn.color_palette("colorblind"):
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        errors, sparsities = figure.subplots(1, 2)
        for rows, style, whose in ((ours, "-", "ours"), (theirs, "--", "the original's")):
            epochs = [row["epoch"] for row in rows]
            for number, (key, name) in enumerate((("test_error_percent", "test"), ("train_error_percent", "train"))):
                errors.plot(epochs, [row[key] for row in rows], style, color=f"C{number}", label=f"{name}, {whose}")
            sparsities.plot(epochs, [row["sparsity_percent"] for row in rows], style, color="C2", label=whose)
        last = [row["test_error_percent"] for row in (*ours[len(ours) // 4:], *theirs[len(theirs) // 4:])]
        errors.set(xlabel="epoch", ylabel="error, %", ylim=(0, 2 * max(last) + 0.1))
        sparsities.set(xlabel="epoch", ylabel="sparsity of all weights, %", ylim=(0, 101))
        for axes in (errors, sparsities):
            axes.legend()
        figure.suptitle(title)
        with files.atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110)


def draw_thresholds(swept, path, title, images):
    """Draws error against compression, both against the threshold, and log alpha's histogram by layer, as PNG.

    Parameters
    ----------
    swept : dict
        `thresholds`, a list of dicts with `threshold`, `compression` and `error_percent`, in place of which bits or
        perplexity are drawn where they have it; `histogram`, counts by layer; `edges`, of its bins
    path, title : str
    images : str
        what the errors are of
    """
    rows = [row for row in swept["thresholds"] if row["compression"]]
    measure = next((name for name in _MEASURES if rows and name in rows[0]), "error_percent")
    thresholds, errors, compressions = (np.array([row[key] for row in rows], float)
                                        for key in ("threshold", measure, "compression"))
    unit = _MEASURES[measure][1] if measure in _MEASURES else "error %"
    usual = errors < (3 * np.median(errors) + 1 if len(errors) else 0)      # there are none where all is pruned
    with seaborn.axes_style("whitegrid"), seaborn.color_palette("colorblind"):
        figure = Figure(figsize=(15, 4.5), layout="constrained")
        curve, by_threshold, histogram = figure.subplots(1, 3)
        curve.plot(compressions[usual], errors[usual], ".-")
        for x, y, text in list(zip(compressions, errors, thresholds))[::4]:
            if y <= errors[usual].max():
                curve.annotate(f"{text:g}", (x, y), xytext=(4, 4), textcoords="offset points", fontsize="small")
        curve.set(xlabel="compression (numbers: log alpha <)", ylabel=f"{unit}, {images}")
        by_threshold.plot(thresholds[usual], errors[usual], ".-", color="C1", label=unit)
        by_threshold.set(xlabel="threshold on log alpha", ylabel=f"{unit}, {images}")
        other = by_threshold.twinx()
        other.plot(thresholds[usual], compressions[usual], ".--", color="C2", label="compression")
        other.set(ylabel="compression")
        other.grid(False)
        labelled = (axes.get_legend_handles_labels() for axes in (by_threshold, other))
        figure.legend(*[sum(parts, []) for parts in zip(*labelled)], loc="outside lower center")
        for layer, counts in swept["histogram"].items():
            histogram.stairs(np.maximum(counts, 0.5), swept["edges"], label=layer)
        histogram.set(xlabel="log alpha", ylabel="weights", yscale="log")
        histogram.legend(fontsize="small")
        figure.suptitle(title)
        with files.atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110)
