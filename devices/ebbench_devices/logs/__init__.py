"""Logs that another program writes: a file that grows, its rows, and the clock that stamped them."""
