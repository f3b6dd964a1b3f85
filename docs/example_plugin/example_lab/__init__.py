"""The instruments of a laboratory."""
