"""What the user reads: a row an epoch, the final table beside the paper's, and the files of a finished run."""

import math

from tabulate import tabulate

from nets import methods, sparsity
from utils import files, plots, published
from utils.runs import sparsity_columns

__all__ = ["EpochTable", "final_table", "finish", "format_compression", "format_sparsity",
           "summarize"]

HEADERS = ("Network", "Method", "Error %", "Train error %", "Sparsity per layer %", "Compression")


class EpochTable:
    """Aligned rows, one an epoch; the first one brings the header.

    Parameters
    ----------
    epochs : int
        how many there will be
    """

    HEADER_EVERY = 40
    MOST_LAYERS = 6  # whose sparsity finds room in a row

    def __init__(self, epochs):
        self._epochs = epochs
        self._lines = 0

    def line(self, row):
        """The text for a row of the history, preceded by the header where one is due."""
        layers = sparsity_columns(row)
        cells = {"epoch": f"{row['epoch']}/{self._epochs}".rjust(7), "rate": f"{row['learning_rate']:.1e}"}
        if row["kl"]:
            cells["KL wt"] = f"{row['kl_weight']:5.2f}"
        cells.update({
            "train loss": f"{row['train_loss']:10.4f}", "test loss": f"{row['test_loss']:9.4f}",
            "train err%": f"{row['train_error_percent']:10.2f}", "test err%": f"{row['test_error_percent']:9.2f}"})
        if row["kl"]:  # networks without a posterior have none, and nothing to prune
            cells["KL"] = f"{row['kl']:9.0f}"
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


def summarize(config, history, layers, final_train):
    """A finished run in one dict, as `summary.json` holds it.

    Parameters
    ----------
    config : dict
        as `config.json` holds it
    history : list of dict
    layers : list of :class:`nets.sparsity.LayerSparsity`
    final_train : :class:`nets.training.trainer.Evaluation`
        of the pruned network on the training set; the history's is of noisy predictions, averaged over the epoch

    Returns
    -------
    dict
        JSON's types only; a compression is None where no weight is left
    """
    settings, last = config["settings"], history[-1]
    total = sparsity.total(layers)
    return {
        "network": settings["network"], "method": _title(settings), "dataset": settings["data"],
        "start": settings.get("start", "random"), "seed": settings["seed"], "epochs": settings["epochs"],
        "threshold": settings["threshold"], "flags": settings.get("flags", []),
        "test_error_percent": last["test_error_percent"], "train_error_percent": last["train_error_percent"],
        "test_nll": last["test_nll"], "final_train_error_percent": final_train.error_percent,
        "sparsity_percent": {layer.name: layer.sparsity_percent for layer in layers},
        "nonzero": {layer.name: layer.nonzero for layer in layers},
        "weights": {layer.name: layer.weights for layer in layers},
        "sparsity_percent_total": total.sparsity_percent,
        "compression": _finite(total.compression),
        "compression_by_layer": {layer.name: _finite(layer.compression) for layer in layers},
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "git_commit": config["git_commit"],
    }


def final_table(summary):
    """The text of a run's result, with the paper's rows for the same network and method under it."""
    rows = [_cells(summary["network"], f"{summary['method']}, this run, {summary['dataset']}",
                   summary["test_error_percent"], summary["final_train_error_percent"],
                   summary["sparsity_percent"].values(), summary["compression"])]
    for row in published.rows(summary["network"], summary["method"]):
        rows.append(_cells(row.network, f"{row.method}, paper, {row.dataset}", row.error_percent, None,
                           row.sparsity_percent, row.compression))
    return tabulate(rows, HEADERS, stralign="left", disable_numparse=True)


def format_sparsity(percent):
    """The sparsities of layers, in percent, as text, such as 98.9 - 97.2 - 62.0."""
    return " - ".join(f"{value:.1f}" for value in percent)


def format_compression(compression):
    """A compression as text, such as 1x, 5.7x or 68x."""
    return f"{compression:.{1 if 1 < compression < 9.95 else 0}f}x"


def finish(run, trainer, dataset, history, completed):
    """Ends an experiment: says how to resume it, or writes the results of a completed run and prints the final table.

    Parameters
    ----------
    run : :class:`utils.runs.Run`
    trainer : :class:`nets.training.trainer.Trainer`
    dataset : :class:`data.dataset.Dataset`
    history : list of dict
    completed : bool
        whether all epochs were trained

    Raises
    ------
    SystemExit
        with status 130 if they were not.
    """
    if history:
        settings = run.config["settings"]
        plots.draw_curves(history, run.path("curves.png"), title=", ".join(
            [settings["network"], _title(settings), settings["data"], f"seed {settings['seed']}"]))
    if not completed:
        run.log(f"Stopped after epoch {len(history)}. To go on: {run.resume_hint}")
        raise SystemExit(130)
    files.write_arrays(run.path("weights.npz"), trainer.weights())
    files.write_arrays(run.path("weights_pruned.npz"), sparsity.pruned_values(trainer.net))
    final_train = trainer.evaluate(dataset.train.inputs, dataset.train.targets)
    summary = summarize(run.config, history, trainer.count_layers(), final_train)
    files.write_json(run.path("summary.json"), summary)
    run.log("\n" + final_table(summary) + "\n")
    run.log(f"In {run.folder}: summary.json, history.csv, log.txt, config.json, curves.png, weights.npz (theta and "
            "log sigma^2), weights_pruned.npz, checkpoint.npz")
    run.close()


def _title(settings):
    return methods.title(settings["method"], settings.get("parameterization", "additive"))


def _finite(compression):
    return compression if math.isfinite(compression) else None


def _cells(network, method, error_percent, train_error_percent, sparsity_percent, compression):
    errors = ("" if error is None else f"{error:.2f}" for error in (error_percent, train_error_percent))
    return (network, method, *errors, format_sparsity(sparsity_percent),
            "all pruned" if compression is None else format_compression(compression))
