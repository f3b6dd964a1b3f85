"""The measurement core: sampler, trace, phases, integration, uncertainty. numpy and pyarrow, never torch."""
