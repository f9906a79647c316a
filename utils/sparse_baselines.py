"""Sparse linear classifiers of scikit-learn on the data of a run, to stand beside logistic regression with SparseVD."""

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ARDRegression, LogisticRegressionCV
from sklearn.model_selection import ShuffleSplit
from tabulate import tabulate
from tqdm import tqdm

from utils import files

__all__ = ["compare", "l1", "ard"]


def compare(run, dataset):
    """Fits the classifiers, writes `baselines.json` to the run's folder and prints all of them in one table.

    Parameters
    ----------
    run : :class:`utils.runs.Run`
        finished
    dataset : :class:`data.dataset.Dataset`
    """
    found = {}
    for name, classifier in (("L1, scikit-learn", l1), ("ARD, scikit-learn", ard)):
        began = time.perf_counter()
        found[name] = {**classifier(dataset), "seconds": round(time.perf_counter() - began, 1)}
    files.write_json(run.path("baselines.json"), found)
    summary = files.read_json(run.path("summary.json"))
    rows = [(summary["method"], 1 - summary["test_error_percent"] / 100, summary["sparsity_percent_total"])]
    rows += [(name, result["test_accuracy"], result["sparsity_percent"]) for name, result in found.items()]
    print(tabulate(rows, (f"On {dataset.name}", "Test accuracy", "Sparsity %"), floatfmt=("", ".3f", ".1f")) + "\n")


def l1(dataset, seed=0):
    """Multinomial logistic regression with an L1 penalty; its strength is the best of nine on a tenth of the images.

    Returns
    -------
    dict
        `test_accuracy`, `sparsity_percent` of the coefficients, and the inverse strength `C`
    """
    train, test = _features(dataset)
    model = LogisticRegressionCV(
        Cs=np.logspace(-2, 2, 9), penalty="l1", solver="saga", max_iter=200, tol=1e-3, random_state=seed,
        cv=ShuffleSplit(n_splits=1, test_size=0.1, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 passes are enough to compare
        model.fit(train, dataset.train_labels)
    return {"test_accuracy": float(model.score(test, dataset.test_labels)),
            "sparsity_percent": float(100 * np.mean(model.coef_ == 0)), "C": float(model.C_[0])}


def ard(dataset):
    """Linear regression of each class against the others with automatic relevance determination; the largest wins.

    Returns
    -------
    dict
        `test_accuracy` and `sparsity_percent` of the coefficients
    """
    train, test = _features(dataset)
    scores, zeros = [], []
    for number in tqdm(range(dataset.num_classes), desc="ARD", unit="class", leave=False, disable=None):
        model = ARDRegression().fit(train, np.where(dataset.train_labels == number, 1.0, -1.0))
        scores.append(model.predict(test))
        zeros.append(np.mean(model.coef_ == 0))
    accuracy = np.mean(np.argmax(scores, axis=0) == dataset.test_labels)
    return {"test_accuracy": float(accuracy), "sparsity_percent": float(100 * np.mean(zeros))}


def _features(dataset):
    return [images.reshape(len(images), -1).astype(np.float64)
            for images in (dataset.train_images, dataset.test_images)]
