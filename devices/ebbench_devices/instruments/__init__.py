"""Instruments of the bench: how each is spoken to, what it answers, and what its clock says."""
