"""Benchmarks of speed and memory; `python -m tests.benchmarks --help` from the repository's root."""
