"""The state of the board during a run, what is changed on it for a run, and how that is put back."""
