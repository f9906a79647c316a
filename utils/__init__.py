"""What experiments share that is neither a network nor data: set-up of Theano, training, run folders, reports."""
