"""Networks: sparse variational dropout layers for Lasagne, architectures, objectives, schedules and sparsity."""

from utils import theano_setup

theano_setup.prepare()
