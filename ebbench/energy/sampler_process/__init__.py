"""What runs in the sampler's own process: a meter, a schedule, a trace. `ebbench.energy.sampler` starts it."""
