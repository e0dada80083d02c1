"""Metrics: what a worker counts when it is asked to, and how Prometheus reads it."""
