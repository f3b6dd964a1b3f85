"""The clocks of traces brought onto the clock of the phases."""
