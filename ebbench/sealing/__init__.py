"""The end of a run: its record from the raw files, with the overhead of mask-distance checks and every doubt."""
