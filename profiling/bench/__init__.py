"""Benchmarks: ratios of one run each, one line of JSON at the end."""
