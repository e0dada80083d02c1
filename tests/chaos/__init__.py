"""Chaos: real Redis, real workers, real faults, and an account that nobody who is tested keeps."""
