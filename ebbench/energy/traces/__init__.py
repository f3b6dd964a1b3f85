"""Readings on disk: batches with checksums, traces of them, and what their columns mean."""
