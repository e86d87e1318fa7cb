"""Benchmarks of speed and memory; `python tests/benchmarks --help` from the repository's root."""
