"""What a known load shows of a meter: its levels, how it follows a step, how it compares with a reference."""
