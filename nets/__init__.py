"""Networks: sparse variational dropout layers for Lasagne, architectures, methods and their training."""

from utils import theano_setup

theano_setup.prepare()
