"""SparseVD for a language model of characters: an LSTM, by Lobacheva, Chirkova and Vetrov (2018).

    python experiments/char_lm.py                             the King James Bible, 128 units
    python experiments/char_lm.py --dataset made-up --units 32 --epochs 10    no download
    python experiments/char_lm.py --structure gates           neurons and gates are pruned as wholes, too
    python experiments/char_lm.py --method dense              the network to compare with, at its best epoch
    python experiments/char_lm.py --part 0.1                  a tenth of the text
    python experiments/char_lm.py --dataset ptb --units 1000 --epochs 250    as in the paper

Figures are bits per character, of pieces of 100 characters that are read each from its beginning.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import Constant

EXPERIMENT = Experiment(
    name="char_lm",
    networks=("char-lstm",),
    dataset="bible",
    source="characters",
    epochs=40,
    # The authors' values, but for units and epochs.
    defaults=dict(batch_size=64, length=100, units=128, clip_norm=1.0),
    methods={
        "sparse-vd": dict(
            learning_rate=Constant(2e-3),
            log_sigma2=-6.0,                         # where log sigma^2 starts
            noise_rate=2.0,                          # they train log sigma
            kl_warm_up=False, threshold=3.0),
        "dense": dict(learning_rate=Constant(2e-3), best_epoch=True),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
