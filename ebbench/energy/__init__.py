"""The measurement core: from a meter to joules with their uncertainty. numpy and pyarrow, never torch.

In the order in which a number comes about: `sampler` starts a process (`sampler_process`) that writes a trace (`traces`) while
`phases` logs what happens; `recording` holds both. Afterwards `alignment` brings clocks together, `integration` makes joules of
readings, `uncertainty` their intervals, `measured` those of all traces of a meter, and `account` what the run cost.
"""
