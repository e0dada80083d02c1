"""Fixtures for users who test with pytest; every run of pytest loads this, so it imports nothing."""
