"""Fixtures of `capelin.testing` for users who test with pytest; loaded by every pytest run, so it imports nothing."""
