"""A meter against a load that is known or another meter: measured, fitted, and kept for the runs that follow."""
