"""Meters and boards, one file each."""
