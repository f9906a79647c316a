"""All runs on one page: a table, error against compression, each run's curves, several runs side by side.

:mod:`utils.page.records` reads the runs' folders, :mod:`utils.page.document` makes the HTML, and
:mod:`utils.page.server` serves the same and follows runs that are training.
"""
