"""Experiment files, what is looked at before their first run, and the conduct of all runs."""
