"""Bad input: `make fuzz CASES=100000`."""
