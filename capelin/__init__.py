"""capelin: a Redis-backed distributed task system."""
