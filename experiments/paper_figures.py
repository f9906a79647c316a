"""Draws the paper's figures from what is measured here, as PNG and PDF.

    python experiments/paper_figures.py                       all figures, to results/figures/
    python experiments/paper_figures.py --figure 1 3          some of them

1    approximations of KL(q || p) against Monte Carlo, and the refit of the paper's k1, k2, k3
2    additive and multiplicative noise: lower bound and sparsity by epoch, and the variance of the gradient
3    error and compression of VGG-like networks by their width k
4    filters of the first convolution, and a piece of the first dense layer, as training goes on
5    error against compression on MNIST: every method's runs, and what is published

All but the first are drawn from the runs under results/. What is missing there is said, with the command that makes it.
"""

import glob
import itertools
import json
import os
from collections import defaultdict
from dataclasses import astuple

import _setup  # noqa: F401  must come first: prepares Theano

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scipy.optimize import curve_fit
from tabulate import tabulate

from experiments.common import status
from utils import files, pictures, published, results, runs
from utils.errors import UserError


def main():
    parser = status.Parser("paper_figures", __doc__)
    add = parser.add_argument
    add("--figure", type=int, nargs="+", choices=tuple(FIGURES), default=tuple(FIGURES), metavar="N",
        help="which figures to draw (default: all)")
    add("--results", default="results", metavar="FOLDER", help="where the runs' folders are (default: results)")
    add("--output", metavar="FOLDER", help="where the figures go (default: figures below --results)")
    args = parser.parse_args()
    if not os.path.isdir(args.results):
        raise UserError(f"{args.results} is no folder: name one that holds runs")
    output = args.output or os.path.join(args.results, "figures")
    with files.writing(output):
        os.makedirs(output, exist_ok=True)
    for number in args.figure:
        name, draw = FIGURES[number]
        # Type 42 keeps a PDF's text as text; without the date, the same figure is the same file.
        with seaborn.axes_style("whitegrid", {"pdf.fonttype": 42}), seaborn.color_palette("colorblind"):
            figure, text = draw(args.results)
            if figure:
                save(figure, os.path.join(output, name))
                text += f"\n\nIn {os.path.join(output, name)}.png and .pdf"
        print(f"Figure {number}: {text}\n")


def save(figure, path):
    for extension, keywords in (("png", {"dpi": 130}), ("pdf", {"metadata": {"CreationDate": None}})):
        with files.atomic_write(f"{path}.{extension}") as file:
            figure.savefig(file, format=extension, **keywords)


def draw_kl(folder):
    from nets import kl     # Theano: the other figures do without

    log_alpha = np.linspace(-8, 8, 81)
    small = log_alpha[log_alpha <= 0]
    sampled = kl.monte_carlo(log_alpha)
    paper, kingma = evaluated(kl.molchanov_2017, log_alpha), evaluated(kl.kingma_2015, small)
    constants = astuple(kl.molchanov_2017)
    fitted, _ = curve_fit(approximation, log_alpha, sampled, p0=constants)
    text = "distance from Monte Carlo, and the paper's constants fitted anew\n\n" + tabulate([
        ("Molchanov et al. (2017)", *constants, abs(paper - sampled).max()),
        ("the same, fitted here", *fitted, abs(approximation(log_alpha, *fitted) - sampled).max()),
        ("difference", *(fitted - constants)),
        ("Kingma et al. (2015), alpha <= 1", None, None, None, abs(kingma - sampled[:len(small)]).max())],
        ("Approximation of KL", "k1", "k2", "k3", "Largest distance"), floatfmt=".5f")

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(log_alpha, -sampled, ".", color="0.4", label="Monte Carlo, 1,000,000 samples")
    axes.plot(log_alpha, -paper, label="Molchanov et al. (2017), eq. 14")
    axes.plot(small, -kingma, "--", label=r"Kingma et al. (2015), $\alpha \leq 1$")
    axes.set(xlabel=r"$\log \alpha$", ylabel=r"$-$KL$(q\,||\,p)$, nats")
    axes.legend()
    return figure, text


def approximation(log_alpha, k1, k2, k3):
    """Equation 14 with the constant C = -k1, for constants to be fitted."""
    return k1 - k1 / (1 + np.exp(-(k2 + k3 * log_alpha))) + 0.5 * np.log1p(np.exp(-log_alpha))


def evaluated(divergence, log_alpha):
    import theano

    return theano.function([], divergence(log_alpha), mode="FAST_COMPILE")()


NOISES = {"additive": "additive noise (paper)", "multiplicative": "multiplicative noise"}


def draw_noises(folder):
    """The longest pair of runs that differ in the parameterization only, and the measured variances."""
    by_rest = defaultdict(dict)
    for group in results.collect(folder):
        if group.method == "sparse-vd":
            flags = group.values
            noise = str(flags.pop("parameterization", "additive"))
            by_rest[group.epochs, group.network, group.k, group.start, group.dataset_title, str(flags)][noise] = group
    pairs = [by_rest[rest] for rest in sorted(by_rest) if by_rest[rest].keys() == NOISES.keys()]
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*", "gradient_variance.json")))
    variances = list(results.readable(results.read_gradient_variance, map(os.path.dirname, paths)))
    missing = []
    if not pairs:
        missing.append("two runs of as many epochs, such as python experiments/lenet_300_100.py, and the same with "
                       "--parameterization multiplicative")
    if not variances:
        missing.append("python experiments/gradient_variance.py")
    if missing:
        return None, f"not drawn, it needs {'; and '.join(missing)}"

    figure = Figure(figsize=(13, 4), layout="constrained")
    bounds, sparsities, ratios = figure.subplots(1, 3)
    lines = []
    for number, (noise, title) in enumerate(NOISES.items()):
        group = pairs[-1][noise]
        histories = [history_with_kl(summary["folder"]) for summary in group.summaries]
        epochs = [row["epoch"] for row in histories[0]]
        # While the KL term's weight grows, the objective is no bound.
        growing = [row["kl_weight"] != histories[0][-1]["kl_weight"] for row in histories[0]]
        bound = np.mean([[-row["train_loss"] for row in rows] for rows in histories], axis=0)
        bound[growing] = np.nan
        sparsity = np.mean([[100 - 100 / row["compression"] for row in rows] for rows in histories], axis=0)
        bounds.plot(epochs, bound, color=f"C{number}", label=title)
        sparsities.plot(epochs, sparsity, color=f"C{number}", label=title)
        error = np.mean([summary["test_error_percent"] for summary in group.summaries])
        lines.append((title, len(histories), f"{bound[-1]:.4f}", f"{sparsity[-1]:.2f}", f"{error:.2f}"))
    bounds.set(xlabel="epoch", ylabel="lower bound, nats per training image", xlim=sparsities.get_xlim(),
               ylim=(2 * np.nanmin(bounds.get_lines()[0].get_ydata()), 0))
    sparsities.set(xlabel="epoch", ylabel="sparsity of all weights, %", ylim=(0, 101))
    rows = [row for row in variances[0]["rows"] if row["additive"]]   # not of wholly pruned layers
    for layer in dict.fromkeys(row["layer"] for row in rows):
        own = [row for row in rows if row["layer"] == layer]
        found = [row["multiplicative"] / row["additive"] for row in own]
        ratios.plot([row["epoch"] for row in own], found, ".-", label=layer)
        lines.append((f"gradient variance ratio, {layer}", "", f"after epoch 0: {found[0]:.3g}",
                      f"median: {np.median(found):.3g}", f"last: {found[-1]:.3g}"))
    ratios.set(xlabel="epoch", ylabel="gradient variance, multiplicative / additive", yscale="log")
    plain_ticks(ratios.yaxis)
    for axes in (bounds, sparsities, ratios):
        axes.legend()
    what = f"{group.network_title} on {group.dataset_title}"
    figure.suptitle(f"{what}, {group.epochs} epochs")
    return figure, (f"{what}, {group.epochs} epochs\n\n" + tabulate(
        lines, ("", "Runs", "Lower bound", "Sparsity %", "Test error %"), disable_numparse=True))


def history_with_kl(folder):
    rows = results.history(folder)
    if "kl_weight" not in rows[0]:
        raise UserError(f"{os.path.join(folder, 'history.csv')} has no column kl_weight, as runs of SparseVD have: "
                        "restore it from a copy, or remove the folder")
    return rows


def draw_vgg_like(folder):
    groups = [group for group in results.collect(folder) if group.network == "vgg-like" and not group.random_labels
              and not group.validation]
    # Longest runs first.
    kinds = sorted({(group.epochs, group.dataset_title) for group in groups}, key=lambda kind: (-kind[0], kind[1]))
    markers = dict(zip(kinds, itertools.cycle("*PXDvs")))
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    drawn = []
    for column, (dataset, title) in enumerate((("cifar10", "CIFAR-10"), ("cifar100-coarse", "CIFAR-100, coarse"))):
        for number, method in enumerate(("binary-dropout", "sparse-vd")):
            for row, key in enumerate(("error_percent", "compression")):
                if row and method != "sparse-vd":
                    continue
                points = [point for point in published.rows("vgg-like", method=method) if point.dataset == dataset]
                panels[row, column].plot([point.k for point in points], [getattr(point, key) for point in points],
                                         "o--", color=f"C{number}", label=f"{points[0].method_title}, paper")
                for group in groups:
                    if (group.method, group.dataset) == (method, dataset):
                        name = key if row else "test_error_percent"
                        # A network without weights has no compression.
                        values = [summary[name] for summary in group.summaries if summary[name] is not None]
                        if not values:
                            continue
                        label = f"{group.method_title}, here: {group.dataset_title}, {group.epochs} epochs"
                        marker = markers[group.epochs, group.dataset_title]
                        panels[row, column].plot(group.k, np.mean(values), marker, color=f"C{number}", label=label,
                                                 markersize=14 if marker == "*" else 9)
                        drawn.append(group)
        panels[0, column].set(title=title, ylabel="test error, %")
        panels[1, column].set(xlabel="width k", ylabel="compression", yscale="log", xticks=(0.25, 0.5, 1, 1.5))
        plain_ticks(panels[1, column].yaxis)
    for axes in panels.flat:
        axes.legend(fontsize="small")
    count = len({id(group) for group in drawn})
    return figure, f"{count} kinds of runs of ours beside the paper's" + (
        "" if count else "; python experiments/vgg_like.py --pretrain binary-dropout makes some")


def plain_ticks(axis):
    """Numbers such as 20x instead of powers of ten."""
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_major_formatter("{x:g}x")
    axis.set_minor_formatter("{x:g}x")


PANELS = 4


def draw_weights(folder):
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*", "snapshots")))
    found = [(path, *read) for path in paths for read in results.readable(read_snapshots, [path]) if read[1]]
    if not found:
        return None, "not drawn, it needs a run with --snapshots"
    figure = Figure(figsize=(2.6 * PANELS, 5.4 * len(found)), layout="constrained")
    for part, (_, settings, kept) in zip(np.atleast_1d(figure.subfigures(len(found), 1)), found):
        dataset = settings["dataset"]
        part.suptitle(f"{settings['network_title']}, {dataset.get('title', dataset['name'])}: the first filters, "
                      "a piece of the first dense layer (white: pruned)")
        epochs = pictures.thinned(list(kept), PANELS)
        for row, (name, layout) in zip(part.subplots(2, PANELS, squeeze=False),
                                       (("filters", pictures.tiled), ("dense", np.asarray))):
            shown = [layout(kept[epoch][name]) for epoch in epochs]
            scale = pictures.color_scale(shown)
            for axes, epoch, picture in zip(row, epochs, shown):
                axes.imshow(np.ma.masked_equal(picture, 0), cmap="RdBu_r", vmin=-scale, vmax=scale,
                            interpolation="nearest")
                axes.set(xticks=(), yticks=(), title=f"epoch {epoch}")
    return figure, f"weights of {', '.join(os.path.basename(os.path.dirname(path)) for path, *_ in found)}"


def read_snapshots(path):
    """A run's settings, and what it kept of its weights in its folder of that path."""
    return runs.read_config(os.path.dirname(path))["settings"], pictures.kept(path)


def draw_trade_off(folder):
    """Runs on MNIST's training set as it is, by today's code; SparseVD's curves by threshold and by KL weight."""
    networks = "lenet-300-100", "lenet-5-caffe"
    groups = [group for group in results.collect(folder)
              if group.network in networks and (group.k, group.dataset) == (1, "mnist") and group.prunes
              and not (group.random_labels or group.validation or "earlier_code" in group.values)]
    paper = [row for row in published.rows() if row.network in networks and row.compression > 1]
    colors = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(row.method for row in (*paper, *groups)))}
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    lines, curves = [], []
    for axes, network in zip(figure.subplots(1, 2), networks):
        for row in paper:
            if row.network == network:
                axes.plot(row.compression, row.error_percent, "D", color=colors[row.method], fillstyle="none",
                          markersize=9, label=f"{row.method_title}, the paper's table")
        labelled, own = set(), [group for group in groups if group.network == network]
        for group in own:
            # A network without weights has no compression.
            left = [summary for summary in group.summaries if summary["compression"]]
            if left:
                axes.plot([summary["compression"] for summary in left],
                          [summary["test_error_percent"] for summary in left], "o", color=colors[group.method],
                          alpha=0.8, label=None if group.method in labelled else f"{group.method_title}, here")
                labelled.add(group.method)
            lines.extend((group.network_title, group.method_title, group.start_title, group.flags_shown,
                          summary["seed"], summary["test_error_percent"], summary["compression"]) for summary in left)
            for summary in group.summaries:
                if os.path.exists(os.path.join(summary["folder"], "thresholds.json")):
                    swept = results.read_thresholds(summary["folder"])["thresholds"]
                    draw_swept(axes, swept, colors[group.method])
        for weights in draw_by_kl_weight(axes, own, colors["sparse-vd"]):
            curves.append(f"{published.method_title(network)}: {', '.join(f'{weight:g}' for weight in weights)}")
        frontier = [row for row in published.FRONTIER if row.network == network]
        axes.plot([row.compression for row in frontier], [row.error_percent for row in frontier], "x", color="0.5")
        axes.set_xscale("log")
        for row in frontier:
            # Names near the right edge go to the left.
            side, align = (-4, "right") if row.compression > axes.get_xlim()[1] / 2 else (4, "left")
            axes.annotate(row.method_title, (row.compression, row.error_percent), xytext=(side, 4), color="0.4",
                          textcoords="offset points", fontsize="x-small", horizontalalignment=align)
        axes.set(title=published.method_title(network), xlabel="compression", ylabel="test error, %")
        plain_ticks(axes.xaxis)
        axes.legend(fontsize="small")
    text = "\n".join(["error against compression on MNIST",
                      *(f"Dashed, by KL weight, {curve}" for curve in curves)])
    if not lines:
        return figure, f"{text}, of published rows alone; python experiments/lenet_300_100.py makes runs"
    return figure, f"{text}\n\n" + tabulate(
        lines, ("Network", "Method", "Start", "Flags", "Seed", "Error %", "Compression"),
        floatfmt=("", "", "", "", "", ".2f", ".0f"), disable_numparse=[3])


def draw_swept(axes, rows, color):
    """A line through what a run's other thresholds give, as far as its error is not doubled."""
    points = [(row["compression"], row["error_percent"]) for row in rows if row["compression"]]
    if not points:
        return
    usual = 2 * min(error for _, error in points)
    axes.plot(*zip(*(point for point in points if point[1] < usual)), "-", linewidth=1, color=color, alpha=0.6)


def draw_by_kl_weight(axes, groups, color):
    """Dashed lines through SparseVD's runs that differ in the KL term's weight alone, means over the seeds.

    Returns each line's weights.
    """
    curves = defaultdict(list)
    for group in groups:
        if group.method == "sparse-vd" and all(summary["compression"] for summary in group.summaries):
            flags = group.values
            weight = float(flags.pop("kl_weight", 1.0))
            mean = [np.mean([summary[key] for summary in group.summaries])
                    for key in ("compression", "test_error_percent")]
            curves[json.dumps({**group.recipe, "flags": flags}, sort_keys=True)].append((weight, *mean))
    lines = [sorted(points) for points in curves.values() if len({weight for weight, *_ in points}) > 1]
    for points in lines:
        _, *line = zip(*points)
        axes.plot(*line, "--", linewidth=1, color=color)
    return [[weight for weight, *_ in points] for points in lines]


#: number : (the files' name, callable(results folder) -> (Figure or None, what to print))
FIGURES = {1: ("figure1_kl", draw_kl), 2: ("figure2_noise", draw_noises), 3: ("figure3_vgg_like", draw_vgg_like),
           4: ("figure4_weights", draw_weights), 5: ("figure5_trade_off", draw_trade_off)}


if __name__ == "__main__":
    status.main(main)
