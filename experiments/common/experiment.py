"""What every experiment does: loads the data, builds the network, trains it, and leaves the results."""

import os
from collections import namedtuple
from dataclasses import replace

import nets  # noqa: F401  prepares Theano

from experiments.common import cli, status
from experiments.common.teacher import Teacher
from nets import kernels
from nets.describe import describe
from nets.training import warm_start
from nets.training.loop import best_epoch, fit
from nets.training.trainer import Trainer, seed_generators
from utils import compression, export, files, plots, results, runs, tables, theano_setup
from utils.errors import UserError, advising
from utils.pictures import Snapshots

__all__ = ["run_script", "run"]

_Began = namedtuple("_Began", "name title recipe")     # Of the weights, kept when they themselves are not.
_RANDOM = _Began("random", "random", None)


def run_script(experiment, description, after_epoch=None, after_run=None):
    """What a script's `main` does: reads the command line, trains, reports; errors end in one line and a status.

    Parameters
    ----------
    experiment : :class:`experiments.common.cli.Experiment`
    description : str
        the script's docstring
    after_epoch : callable(epoch, run, trainer, dataset), or None
        called with epoch 0 before the first epoch, and with the number of completed ones after each; not in pretraining
    after_run : callable(run, dataset), or None
        called when the run is finished
    """
    def main():
        finished, dataset = run(cli.parse(experiment, description), after_epoch)
        if after_run:
            after_run(finished, dataset)
    status.main(main, resumes=True)


def run(options, after_epoch=None):
    """Trains a network as the command line says, after its pretraining if that is asked for, and reports.

    Parameters
    ----------
    options : :class:`experiments.common.cli.Options`
    after_epoch
        as in :func:`run_script`

    Returns
    -------
    tuple
        the finished :class:`utils.runs.Run`, and what it was trained on, such as a :class:`data.dataset.Dataset`

    Raises
    ------
    UserError
        if anything that the user can mend is in the way.
    SystemExit
        if the training was stopped before its last epoch.
    """
    values = options.values
    dataset = options.experiment.data.load(values, options.data_dir)
    start = values["init_from"]
    folder = options.folder
    earlier = []
    # A run that goes on has its weights in its checkpoint.
    for name in () if _goes_on(options) else values["pretrain"] or ():
        folder = f"{folder}-{name}"
        earlier.append(options.for_pretraining(name, folder))
    if earlier:
        _check_all([*earlier, options], dataset)
        if not options.resume:
            runs.require_no_run(options.folder)
    for one in earlier:
        if not runs.is_finished(one.folder):
            _train(one, dataset, start)
        elif not (options.resume and runs.holds_run(options.folder)):
            # What its configuration does not name, of another version, is taken to be the same.
            settings = _settings(one, dataset, _stored_start(one.folder))
            runs.require_same_settings(one.folder, runs.read_config(one.folder)["settings"], settings, settings)
        start = one.folder
    return _train(options, dataset, start, after_epoch), dataset


def _check_all(trainings, dataset):
    """`UserError` for what is wrong with one of several trainings, each from the weights of the one before."""
    before = None
    for options in trainings:
        _require_start(options, before or options.values["init_from"])
        net, _ = _built(options, dataset)
        # Pruned weights fit any method.
        if before and options.method.starts_from == "weights.npz":
            missing = warm_start.Weights.of(*before).copy_to(net)
            options.method.start(net, missing, _given(options))
        before = net, f"--pretrain {options.method.name}"


def _require_start(options, start):
    if options.method.needs_start and not start:
        raise UserError(options.method.start_needed())


def _require_same_words(options, source, dataset):
    """`UserError` if a run of another text is the start: a token's number is its place among that text's tokens."""
    folder = os.path.dirname(source.path)
    if not hasattr(dataset, "vocabulary") or not runs.holds_run(folder):
        return
    own = runs.read_config(folder)["settings"]["dataset"]
    if (own["name"], own.get("part") or 1) != (options.values["dataset"], options.values["part"] or 1):
        raise UserError(f"{source.path} learned {own.get('title', own['name'])}, where words or characters are "
                        f"numbered otherwise than in {dataset.name}: start from a run of the same --dataset"
                        + " and --part" * options.experiment.offers("part"))


def _goes_on(options):
    return options.resume and runs.holds_run(options.folder) and runs.has_checkpoint(options.folder)


def _given(options):
    return {*options.given, *(options.values["given"] or ())}


def _built(options, dataset):
    """The network, with random weights, and the :class:`Teacher` or None; `UserError` if data or flags do not fit."""
    values, kind, shape = options.values, options.experiment.data, dataset.train.inputs.shape[1:]
    kernels.use_plain_graph(values["plain_graph"])
    try:
        net = options.network.build(options.method, shape, dataset.num_classes, values["k"],
                                    **kind.network(dataset, values))
    except ValueError as error:
        raise UserError(f"{options.network_title} does not take the {kind.examples} of {dataset.name}, "
                        f"{'x'.join(map(str, shape))}: {error}; choose another --dataset") from None
    options.method.check(net)
    if values["batch_size"] > len(dataset.train):
        raise UserError(f"--batch-size {values['batch_size']} is more than the {len(dataset.train)} training "
                        f"{kind.examples} of {dataset.name}")
    if values["augment"] and values["shift"] and values["shift"] >= min(shape[1:]):
        raise UserError(f"--shift {values['shift']} moves whole images out of sight: give less than {min(shape[1:])}")
    if not values["teacher"]:
        return net, None
    if values["augment"]:
        raise UserError("a teacher's predictions are of the images as they are: give --no-augment with --teacher")
    teacher = Teacher(values["teacher"], values["temperature"], values["teacher_weight"])
    teacher.require_same(dataset)
    return net, teacher


def _train(options, dataset, start, after_epoch=None):
    """One training, from random weights or from those at the path `start`."""
    values, method, kind = options.values, options.method, options.experiment.data
    goes_on = _goes_on(options)
    if not goes_on:
        _require_start(options, start)
    generator = seed_generators(values["seed"])
    net, teacher = _built(options, dataset)
    studied = teacher.taught(dataset, options.data_dir) if teacher else dataset
    augmentation = None
    if values["augment"]:
        augmentation = replace(dataset.augmentation, pad=values["shift"] or dataset.augmentation.pad)
    # Before the run's folder is made, which weights that do not fit should not leave behind.
    began, remark = _RANDOM, None
    if goes_on:
        began = _stored_start(options.folder)
    elif start:
        source = warm_start.Weights.read(start, method.starts_from)
        _require_same_words(options, source, dataset)
        began = _Began(source.name, source.title, source.recipe)
        missing = source.copy_to(net)
        remark = f"Starts from {source.path} ({source.title}){method.start(net, missing, _given(options))}"
        remark += source.remark(options.network, method, values["dataset"], values["preprocessing"])

    with _open(options, dataset, began) as run:
        _announce(options, run, dataset)
        task = kind.task()
        trainer = Trainer(net, method, task.number(dataset.train.targets), values["l2"], task,
                          teacher and teacher.lesson, values["clip_norm"])
        if remark:
            already = compression.total(trainer.count_layers()).sparsity_percent
            run.log(f"{remark}; {already:.1f} % of the weights are pruned before the first step" if method.prunes
                    else remark)
        pictures = Snapshots(run, dataset.train.inputs.shape[1:]) if options.snapshots else None

        def after(epoch):
            if pictures:
                pictures.take(epoch, trainer.pruned_weights())
            if after_epoch:
                after_epoch(epoch, run, trainer, dataset)

        history, completed = fit(trainer, studied, run, epochs=values["epochs"], batch_size=values["batch_size"],
                                 learning_rate=values["learning_rate"], seed=values["seed"], generator=generator,
                                 augmentation=augmentation, after_epoch=after,
                                 keep_best=values["best_epoch"])
        if pictures:
            run.log("Drawn: " + ", ".join(pictures.draw()))
        with advising(f"{run.resume_hint} goes on from the last checkpoint"):
            _finish(options, run, trainer, dataset, history, completed, began, teacher)
    return run


def _open(options, dataset, began):
    """The run's folder."""
    config = {"settings": _settings(options, dataset, began), "method_title": options.method.title,
              "prunes": options.method.prunes, "start_recipe": began.recipe, "environment": theano_setup.describe(),
              **runs.provenance()}
    return runs.Run(options.folder, config, options.resume, options.defaults(), options.resume_hint)


def _settings(options, dataset, began):
    """What `config.json` has of what is trained."""
    settings = options.sections()
    settings["dataset"].update(title=dataset.name, fingerprint=dataset.fingerprint)
    settings["start"].update(name=began.name, title=began.title)
    return settings


def _stored_start(folder):
    """Where a folder's run began."""
    config = runs.read_config(folder)
    start = config["settings"].get("start", {})
    return _Began(start.get("name", "random"), start.get("title", "random"), config.get("start_recipe"))


def _announce(options, run, dataset):
    """Says what is going to be trained."""
    environment = theano_setup.describe()
    sizes = [(name, len(getattr(dataset, split))) for name, split in (("training", "train"), ("validation", "valid"),
                                                                      ("test", "test")) if hasattr(dataset, split)]
    counts = " and ".join(", ".join(f"{count:,} {name}" for name, count in sizes).rsplit(", ", 1))
    run.log(f"{options.network_title}, {options.method.title}, on {dataset.name} ({counts} "
            f"{options.experiment.data.examples}, {dataset.num_classes} classes), seed "
            f"{options.values['seed']}, {options.values['epochs']} epochs")
    run.log(f"Theano {environment['Theano']} on {environment['device']}, {environment['threads']} threads, "
            f"BLAS: {environment['blas']}")
    run.log(f"Run folder: {run.folder}")
    run.log("Compiling; the first time on a machine it takes a minute or two ...")


def _finish(options, run, trainer, dataset, history, completed, began, teacher):
    """Says how to go on with a run that was stopped, or writes the results and prints the final table."""
    method, values = options.method, options.values

    def draw():
        if history:
            plots.draw_curves(history, run.path("curves.png"), prunes=method.prunes, title=", ".join(
                [options.network_title, method.title, dataset.name, f"seed {values['seed']}"]),
                parts={part.name: part.before for part in trainer.parts})
    if not completed:
        draw()
        run.log(f"Stopped after epoch {len(history)}. To go on: {run.resume_hint}")
        raise SystemExit(130)
    method.finish(trainer.net)
    draw()
    files.write_arrays(run.path("weights.npz"), trainer.weights())
    test, final_train = trainer.evaluate(dataset.test), trainer.evaluate(dataset.train)
    valid = trainer.evaluate(dataset.valid) if hasattr(dataset, "valid") else None
    pruned, layers = trainer.pruned_weights(), describe(trainer.net)
    files.write_arrays(run.path("weights_pruned.npz"), pruned)
    if hasattr(dataset, "transform"):
        files.write_arrays(run.path("preprocessing.npz"), dataset.transform.arrays())
    files.write_json(run.path("network.json"), {"format": runs.FORMAT, "layers": layers})
    flags, shown = options.flags, options.flags_shown
    if teacher:
        flags, shown = {**flags, "teacher": teacher.title}, f"--teacher ({teacher.title}) {shown}".strip()
    summary = {
        "format": runs.FORMAT, "experiment": options.experiment.name, "network": values["network"], "k": values["k"],
        "network_title": options.network_title, "method": method.name, "method_title": method.title,
        "prunes": method.prunes, "dataset": values["dataset"], "dataset_title": dataset.name,
        "random_labels": values["random_labels"], "validation": values["validation"],
        "start": began.name, "start_title": began.title, "start_recipe": began.recipe,
        "teacher_recipe": teacher and results.recipe(teacher.run.summary), "seed": values["seed"],
        "epochs": values["epochs"], "flags": flags,
        "flags_shown": shown, **tables.summarize(history, trainer.count_layers(), test, final_train),
        **method.row(trainer.net), **_of_texts(values, trainer, history, valid, test),
        "structure": _structure(layers, pruned), "git_commit": run.config["git_commit"]}
    files.write_json(run.path("summary.json"), summary)
    run.log("\n" + (tables.text_table(summary) if valid else tables.final_table(summary)) + "\n")
    if method.prunes and summary["structure"]:
        run.log(tables.structure_table(summary) + "\n")
    run.log(f"In {run.folder}: " + ", ".join(sorted(os.listdir(run.folder))))


def _of_texts(values, trainer, history, valid, test):
    """What `summary.json` has of a run on data with a validation split of its own; {} for the others."""
    if not valid:
        return {}
    measure = trainer.task.measure
    found = {"valid_error_percent": valid.error_percent, "valid_nll": valid.nll,
             "parts": {part.name: {"before": part.before, "left": part.left} for part in trainer.parts}}
    if measure:
        found.update({f"valid_{measure.name}": measure.of(valid), f"test_{measure.name}": measure.of(test)})
    if values["best_epoch"]:
        found["best_epoch"] = best_epoch(history)
    return found


def _structure(layers, arrays):
    """What compaction leaves, see :func:`utils.export.structure`; None of networks that it does not know."""
    try:
        return export.structure(export.ExportedNetwork(layers, dict(arrays)))
    except UserError:
        return None
