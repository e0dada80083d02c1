"""The tests of capelin: real functions, a real Redis, one idea a test."""
