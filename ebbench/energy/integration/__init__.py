"""From readings to joules, and to what the uncertainty of joules is made from."""
