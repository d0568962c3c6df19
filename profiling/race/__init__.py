"""The race: every method at equal prefill FLOPs, on data with and without true answers.

`python -m profiling sweep` measures and records, `python -m profiling sweep-report` reads the records.
"""
