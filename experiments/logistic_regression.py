"""Logistic regression with SparseVD, beside L1-regularized logistic regression and ARD of scikit-learn.

    python experiments/logistic_regression.py                              scikit-learn's digits, 64 pixels; a minute
    python experiments/logistic_regression.py --dataset digits-8x8-noise   with as many features that are only noise
    python experiments/logistic_regression.py --dataset mnist              ten minutes, six of them scikit-learn's L1

The comparison is of the authors' 2016 workshop poster. The strength of L1 is chosen on a tenth of the training images,
or of the first 10,000 of them. ARD (automatic relevance determination) regresses each class against the others, as a
relevance vector machine with linear kernel does; of more than 10,000 images it would take hours, and is left out.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common import baselines
from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import LinearDecay, LinearWarmUp

EXPERIMENT = Experiment(
    name="logistic_regression",
    networks=("logistic-regression",),
    dataset="digits-8x8",
    epochs=200,
    defaults=dict(batch_size=100),
    methods={
        # The poster gives no values. With a warm-up, weights that separate the few training images grow too large to be
        # pruned.
        "sparse-vd": dict(
            learning_rate=LinearDecay(3e-2, begin=100, end=200),  # from epoch 100 on it falls linearly, to 0 at 200
            kl_warm_up=False,
            warm_up=LinearWarmUp(begin=5, end=20),   # only with --kl-warm-up
            log_sigma2=-3.0,                         # where log sigma^2 starts
            threshold=3.0,                           # weights of log alpha >= 3 are pruned
            train_clip=True),                        # and left out of the mean in training too
        "dense": dict(learning_rate=LinearDecay(3e-2, begin=100, end=200)),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__, after_epoch=baselines.fit, after_run=baselines.show)
