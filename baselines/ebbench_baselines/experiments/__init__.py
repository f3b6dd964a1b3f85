"""Experiments as TOML files; each file name is the name of an experiment."""
