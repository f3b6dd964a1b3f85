"""The methods that EB Train is compared with."""
