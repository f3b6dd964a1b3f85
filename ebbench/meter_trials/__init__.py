"""Meters tried by themselves, before anything is measured with them."""
