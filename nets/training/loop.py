"""The loop over epochs, with a row, a checkpoint and a test pass for each; the same for every method."""

import time

import numpy as np
from tqdm import tqdm

from nets.methods.base import Column, Step
from nets.training import state
from utils import compression, tables
from utils.errors import UserError
from utils.interruption import Interruption
from utils.runs import LEFT, SPARSITY

__all__ = ["best_epoch", "fit"]

BEST = "best/"      # in a checkpoint, before the names of the parameters after the best epoch


def fit(trainer, dataset, run, *, epochs, batch_size, learning_rate, seed, generator, augmentation=None,
        after_epoch=None, keep_best=False):
    """Trains up to `epochs`, from the run's checkpoint if it has one; one row an epoch, one checkpoint an epoch.

    Ctrl-C (or SIGTERM) lets the epoch end and stops; a second one stops at once.

    Parameters
    ----------
    trainer : :class:`nets.training.trainer.Trainer`
    dataset : object with `train`, `test` and perhaps `valid`
        such as :class:`data.dataset.Dataset` and :class:`data.texts.Documents`
    run : :class:`utils.runs.Run`
    learning_rate : callable(epoch) -> float
        see :mod:`nets.schedules`
    seed : int
        the run's, for the method
    generator : numpy.random.Generator
        orders the training set, and is the source of the augmentation's randomness
    augmentation : callable(inputs, generator) -> inputs, or None
        changes each batch of training inputs
    after_epoch : callable(int), or None
        called with 0 before the first epoch, and with the number of completed ones after each; with the last of these
        again when a run goes on, which may have been stopped in the midst of it
    keep_best : bool
        whether the network ends as it was after the epoch with the least loss on `valid`, see :func:`best_epoch`

    Returns
    -------
    tuple
        the history, a list with a dict for each completed epoch, and whether all epochs are completed

    Raises
    ------
    UserError
        if the loss or a weight becomes NaN or infinite (the last good checkpoint is kept), the checkpoint is of
        another network, or a file cannot be written.
    """
    after_epoch = after_epoch or (lambda epoch: None)
    method, net = trainer.method, trainer.net
    history, start, best = [], 0, {}
    if run.checkpoint:
        arrays, start, history, generator.bit_generator.state = run.checkpoint
        best = {name: arrays.pop(name) for name in list(arrays) if name.startswith(BEST)}
        if best or keep_best:
            # Now, not when all epochs are done.
            state.require_same({BEST + name: array for name, array in trainer.weights().items()}, best,
                               run.path("checkpoint.npz"))
        trainer.set_state(arrays, run.path("checkpoint.npz"))
        run.write_history(history)
        run.log(f"Resumed after epoch {start} of {epochs}.")
    after_epoch(start)

    table = tables.EpochTable(epochs, [(term.name, term.title) for term in trainer.terms], method.prunes,
                              [*_columns(trainer, dataset), *method.columns])
    steps = dataset.train.num_batches(batch_size)
    with Interruption(_told) as interruption:
        for epoch in range(start, epochs):
            began = time.perf_counter()
            counter = iter(range(epoch * steps, (epoch + 1) * steps))

            def before_step():
                method.before_step(net, Step(next(counter), epoch, steps, epochs, seed))

            method.begin_epoch(net, Step(epoch * steps, epoch, steps, epochs, seed))
            rates = learning_rate(epoch), [term.weight(epoch) for term in trainer.terms]
            with tqdm(total=steps, desc=f"epoch {epoch + 1}/{epochs}", unit="step", leave=False,
                      disable=None) as progress:
                train, terms = trainer.train_epoch(dataset.train.batches(batch_size, generator, augmentation), *rates,
                                                   before_step if method.before_step else None, progress)
            arrays = trainer.state()
            _require_finite(train.nll + sum(terms), arrays, epoch, run)
            row = _row(trainer, dataset, epoch, rates, train, terms)
            row["seconds"] = round(time.perf_counter() - began, 2)
            if history and row.keys() != history[0].keys():
                raise UserError(f"{run.path('checkpoint.npz')} has other columns in its history than this version's: "
                                f"go on with it at the commit {run.config.get('git_commit') or 'that began it'}, or "
                                "start a new run without --resume")
            history.append(row)
            if keep_best and best_epoch(history) == epoch + 1:
                best = {BEST + name: array for name, array in trainer.weights().items()}
            run.save_checkpoint({**arrays, **best}, epoch + 1, history, generator.bit_generator.state)
            run.log(table.line(row))
            if epoch + 1 < epochs:
                after_epoch(epoch + 1)
                if interruption.asked:
                    return history, False
    if start < epochs:
        after_epoch(epochs)
    if best:
        trainer.set_weights({name.removeprefix(BEST): array for name, array in best.items()})
        run.log(f"The weights are those after epoch {best_epoch(history)}, the best on validation data.")
    return history, True


def best_epoch(history):
    """The number of the epoch with the least loss on validation data; the first of equal ones."""
    return min(history, key=lambda row: row["valid_nll"])["epoch"]


def _columns(trainer, dataset):
    """Those of the task and of the data, for the row that an epoch prints."""
    measure = trainer.task.measure
    parts = ("valid", "test") if hasattr(dataset, "valid") else ("test",) if measure else ()
    if measure:
        columns = [Column(f"{part}_{measure.name}", f"{part} {measure.header}", measure.format) for part in parts]
    else:
        columns = [Column("valid_error_percent", "valid err%", "10.2f")] if parts else []
    return [*columns, *(Column(f"{part.name}{LEFT}", part.name, f"{len(part.name)},d") for part in trainer.parts)]


def _row(trainer, dataset, epoch, rates, train, terms):
    learning_rate, weights = rates
    names = [term.name for term in trainer.terms]
    row = {"epoch": epoch + 1, "learning_rate": learning_rate}
    row.update((f"{name}_weight", weight) for name, weight in zip(names, weights))
    final_terms = trainer.term_values()
    test = trainer.evaluate(dataset.test)
    # Per training example, so that both are comparable: -log p(y | x) + rw KL / N.
    for part, evaluation, values in (("train", train, terms), ("test", test, final_terms)):
        penalty = sum(weight * value for weight, value in zip(weights, values))
        row[f"{part}_loss"] = evaluation.nll + penalty / trainer.num_examples
    row.update(train_nll=train.nll, test_nll=test.nll, train_error_percent=train.error_percent,
               test_error_percent=test.error_percent)
    found = {"test": test}
    if hasattr(dataset, "valid"):
        found["valid"] = valid = trainer.evaluate(dataset.valid)
        row.update(valid_nll=valid.nll, valid_error_percent=valid.error_percent)
    if trainer.task.measure:
        row.update((f"{part}_{trainer.task.measure.name}", trainer.task.measure.of(evaluation))
                   for part, evaluation in found.items())
    row.update(zip(names, final_terms))
    layers = trainer.count_layers()
    row.update((SPARSITY + layer.name, layer.sparsity_percent) for layer in layers)
    row["compression"] = compression.total(layers).compression
    row.update((f"{part.name}{LEFT}", part.left) for part in trainer.parts)
    row.update(trainer.method.row(trainer.net))
    return row


def _require_finite(loss, arrays, epoch, run):
    bad = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad or not np.isfinite(loss):
        what = f"{bad[0].split('/')[-1]} became NaN or infinite" if bad else "the loss became NaN or infinite"
        kept = f"the checkpoint after epoch {epoch} is kept in {run.folder}" if epoch else "no epoch was completed"
        raise UserError(f"{what} in epoch {epoch + 1}; {kept}. Start a new run with another --seed or --batch-size, or "
                        "a lower learning rate")


def _told(asked):
    if asked > 1:
        raise KeyboardInterrupt
    tqdm.write("Stopping after this epoch; Ctrl-C again stops at once and loses the epoch.")
