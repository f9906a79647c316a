"""Sparse linear classifiers of scikit-learn on the data of a run, to stand beside logistic regression with SparseVD."""

import os
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ARDRegression, LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import ShuffleSplit
from tabulate import tabulate
from tqdm import tqdm

from utils import files, results

__all__ = ["fit", "show", "l1", "ard"]

#: Images on which the strength of L1 is chosen, at most; of more, ARD would take hours.
FEW_IMAGES = 10000


def fit(epoch, run, trainer, dataset):
    """After the last epoch, fits the classifiers and writes `baselines.json` to the run's folder, unless it is there.

    This is before the run counts as finished: one that is stopped meanwhile goes on with it.

    Parameters
    ----------
    epoch : int
        how many are completed
    run : :class:`utils.runs.Run`
    dataset : :class:`data.dataset.Dataset`
    """
    if epoch < run.config["settings"]["training"]["epochs"] or os.path.exists(run.path("baselines.json")):
        return
    found = {}
    classifiers = {"L1, scikit-learn": l1}
    if len(dataset.train.inputs) <= FEW_IMAGES:
        classifiers["ARD, scikit-learn"] = ard
    else:
        print(f"ARD is left out: it would take hours for more than {FEW_IMAGES:,} images")
    for name, classifier in classifiers.items():
        print(f"{name} ...", flush=True)
        began = time.perf_counter()
        found[name] = {**classifier(dataset), "seconds": round(time.perf_counter() - began, 1)}
    files.write_json(run.path("baselines.json"), found)


def show(run, dataset):
    """Prints a finished run and the classifiers in one table."""
    found = results.read_baselines(run.folder)
    summary = files.read_json(run.path("summary.json"))
    rows = [(summary["method_title"], 1 - summary["test_error_percent"] / 100, summary["sparsity_percent_total"])]
    rows += [(name, result["test_accuracy"], result["sparsity_percent"]) for name, result in found.items()]
    print(tabulate(rows, (f"On {dataset.name}", "Test accuracy", "Sparsity %"), floatfmt=("", ".3f", ".1f")) + "\n")


def l1(dataset, seed=0):
    """Multinomial logistic regression with an L1 penalty; its strength is the best of nine on images held out.

    Held out is a tenth of the training images, or of the first `FEW_IMAGES` of them.

    Returns
    -------
    dict
        `test_accuracy`, `sparsity_percent` of the coefficients, and the inverse strength `C`
    """
    train, test = _features(dataset)
    labels = dataset.train.targets
    # 200 passes are enough to compare, and 50 are for many images.
    keywords = dict(penalty="l1", solver="saga", tol=1e-3, random_state=seed,
                    max_iter=200 if len(train) <= FEW_IMAGES else 50)
    choice = LogisticRegressionCV(Cs=np.logspace(-2, 2, 9), refit=False, **keywords,
                                  cv=ShuffleSplit(n_splits=1, test_size=0.1, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        choice.fit(train[:FEW_IMAGES], labels[:FEW_IMAGES])
        model = LogisticRegression(C=choice.C_[0], **keywords).fit(train, labels)
    return {"test_accuracy": float(model.score(test, dataset.test.targets)),
            "sparsity_percent": float(100 * np.mean(model.coef_ == 0)), "C": float(choice.C_[0])}


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
        model = ARDRegression().fit(train, np.where(dataset.train.targets == number, 1.0, -1.0))
        scores.append(model.predict(test))
        zeros.append(np.mean(model.coef_ == 0))
    accuracy = np.mean(np.argmax(scores, axis=0) == dataset.test.targets)
    return {"test_accuracy": float(accuracy), "sparsity_percent": float(100 * np.mean(zeros))}


def _features(dataset):
    return [images.reshape(len(images), -1).astype(np.float64)
            for images in (dataset.train.inputs, dataset.test.inputs)]
