"""A finished run as another one's teacher, through the scripts' common code."""

import numpy as np
import pytest
import theano.tensor as T
from scipy.special import log_softmax, softmax

from experiments.common import cli
from experiments.common.experiment import run
from experiments.common.teacher import Teacher
from nets.schedules import Constant
from nets.tasks import Classification, Distillation
from utils import results
from utils.errors import UserError
from utils.export import read_run

EXPERIMENT = cli.Experiment("made_up", ("lenet-300-100",), "digits", epochs=2, methods={
    "dense": dict(learning_rate=Constant(1e-3)), "sparse-vd": dict(learning_rate=Constant(1e-3))})


def train(*arguments, after_epoch=None):
    return run(cli.parse(EXPERIMENT, "", list(map(str, arguments))), after_epoch)[0]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "teacher"
    train("--validation", 100, "--output", folder)
    return folder


@pytest.fixture(scope="module")
def taught(teacher):
    folder = teacher.parent / "student"
    train("--validation", 100, "--teacher", teacher, "--temperature", 2, "--output", folder)
    return folder


def test_the_lesson_is_the_mean_of_both_cross_entropies(evaluate):
    rng = np.random.RandomState(1)
    scores, labels = rng.normal(size=(6, 4)), rng.randint(4, size=6)
    logs = log_softmax(3 * rng.normal(size=(6, 4)), axis=1)
    lesson, x, taught = Distillation(2.5, 0.3), T.dmatrix(), T.dmatrix()
    p, values = T.nnet.softmax(x), {x: scores, taught: np.column_stack([labels, logs])}
    hard = -log_softmax(scores, axis=1)[range(6), labels].mean()
    soft = -(softmax(logs / 2.5, axis=1) * log_softmax(scores / 2.5, axis=1)).sum(axis=1).mean()
    assert float(evaluate(lesson.nll(p, taught), values)) == pytest.approx(0.7 * hard + 0.3 * 2.5 ** 2 * soft, rel=1e-6)
    y = T.ivector()
    same = evaluate(Classification().sums(p, y), {x: scores, y: labels.astype("int32")})
    np.testing.assert_allclose(evaluate(lesson.sums(p, taught), values), same)


@pytest.mark.parametrize("score", [20, 40, 90, 200])
def test_however_sure_the_network_is_the_gradient_is_finite(evaluate, score):
    scores, taught = T.fmatrix(), T.fmatrix()
    loss = Distillation(4.0, 0.9).nll(T.nnet.softmax(scores), taught)
    values = {scores: np.array([[score, 0, -score], [0, 0, score]], "float32"),
              taught: np.array([[0, 0, -80, -87], [1, -1, -1, -1]], "float32")}
    for found in evaluate([loss, T.grad(loss, scores)], values):
        assert np.isfinite(found).all() and np.abs(found).max() < 1000


def test_the_teacher_changes_what_is_learned_and_is_named(teacher, taught):
    student = results.read_summary(str(taught))
    assert student["flags_shown"] == "--teacher (LeNet-300-100, Dense) --temperature 2"
    assert student["flags"] == {"teacher": "LeNet-300-100, Dense", "temperature": 2.0}
    # Its columns are of the labels, as without a teacher.
    history, own = results.history(str(taught)), results.history(str(teacher))
    assert 0 < history[-1]["train_nll"] < history[0]["train_nll"] < np.log(10)
    assert history[-1]["train_nll"] != own[-1]["train_nll"]


def test_the_lesson_is_what_the_teacher_predicts(teacher):
    own = Teacher(str(teacher), 2.0, 0.9)
    images = own.run.dataset()
    targets = own.taught(images).train.targets
    np.testing.assert_array_equal(targets[:, 0], images.train.targets)
    expected = np.log(read_run(str(teacher)).probabilities(images.train.inputs))
    np.testing.assert_allclose(targets[:, 1:], expected, atol=1e-4)


def test_resumed_it_is_the_same_bit_for_bit(teacher, taught):
    class Stopped(Exception):
        pass

    def stop(epoch, *_):
        if epoch == 1:
            raise Stopped

    folder = teacher.parent / "stopped"
    with pytest.raises(Stopped):
        train("--validation", 100, "--teacher", teacher, "--temperature", 2, "--output", folder, after_epoch=stop)
    train("--resume", folder)
    with np.load(folder / "weights.npz") as one, np.load(taught / "weights.npz") as other:
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("flags, message", [
    ((), "was trained on other images than digits: a teacher has the same --dataset, --validation"),
    (("--validation", 100, "--augment"), "give --no-augment with --teacher"),
    (("--validation", 100, "--random-labels"), "was trained on other images than")])
def test_what_cannot_be_taught_is_refused(teacher, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        train("--teacher", teacher, "--output", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_no_finished_run_teaches(tmp_path):
    with pytest.raises(UserError, match="not the folder of a finished run"):
        train("--teacher", tmp_path, "--output", tmp_path / "run")


def test_damaged_weights_of_a_teacher_are_named(teacher, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("summary.json", "config.json"):
        (bad / name).write_text((teacher / name).read_text())
    (bad / "weights_pruned.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="weights_pruned.npz"):
        train("--validation", 100, "--teacher", bad, "--output", tmp_path / "run")
