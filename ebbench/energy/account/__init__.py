"""What a run cost: the traces of all its meters integrated over all its phases."""

from ebbench.energy.account.account import StretchesOf, account, measured_over, redone_outside

__all__ = ["StretchesOf", "account", "measured_over", "redone_outside"]
