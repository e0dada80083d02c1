"""The scenarios: a module each. A new one is a module here, and an entry in ``registry.py``."""
