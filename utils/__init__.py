"""What experiments share that is neither a network nor data: set-up of Theano, run folders, files, tables, pictures."""
