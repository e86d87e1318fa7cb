"""Measures of synthetic images against real ones, under a replaceable feature extractor."""
