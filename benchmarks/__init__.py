"""Benchmarks: capelin beside its peers and beside its own limits, in one run on one Redis. See README.md."""
