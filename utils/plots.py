"""Pictures of a run."""

import seaborn
from matplotlib.figure import Figure

from utils import files
from utils.runs import sparsity_columns

__all__ = ["draw_curves"]


def draw_curves(history, path, title):
    """Draws error, loss, sparsity by layer and compression against the epoch, as PNG.

    Parameters
    ----------
    history : list of dict
        a row an epoch, as in `history.csv`
    path : str
        where the picture goes
    title : str
    """
    epochs = [row["epoch"] for row in history]
    marker = "." if len(epochs) < 30 else None
    with seaborn.axes_style("whitegrid"), seaborn.color_palette("colorblind"):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        (errors, losses), (sparsities, compressions) = figure.subplots(2, 2, sharex=True)

        def plot(axes, key, label):
            axes.plot(epochs, [row[key] for row in history], label=label, marker=marker)

        plot(errors, "train_error_percent", "train (noisy weights)")
        plot(errors, "test_error_percent", "test (pruned weights)")
        errors.set(ylabel="error, %", ylim=(0, 2.5 * sorted(row["train_error_percent"] for row in history)
                                            [len(history) // 2] + 2))
        plot(losses, "train_nll", "train, -log p(y | x)")
        plot(losses, "test_nll", "test, -log p(y | x)")
        plot(losses, "train_loss", "train, -lower bound per image")
        losses.set(ylabel="nats per image", yscale="log")
        for layer, column in sparsity_columns(history[0]).items():
            plot(sparsities, column, layer)
        sparsities.set(ylabel="sparsity, %", xlabel="epoch", ylim=(0, 101))
        plot(compressions, "compression", "weights / non-zero weights")
        compressions.set(ylabel="compression", xlabel="epoch", yscale="log")
        for axes in (errors, losses, sparsities, compressions):
            axes.legend()
        figure.suptitle(title)
        with files.atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=110)
