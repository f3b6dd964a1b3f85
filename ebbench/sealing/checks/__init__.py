"""The doubts about a run, each with its number, its limit and what to do. Pure functions of what was recorded.

A check whose input is missing says NOT CHECKED, never PASS.
"""

from ebbench.sealing.checks.run import check_run, command_ended, run_ended

__all__ = ["check_run", "command_ended", "run_ended"]
