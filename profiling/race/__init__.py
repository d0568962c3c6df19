"""The race: every method at equal prefill FLOPs, on data with and without true answers.

`python -m profiling race` measures and records, `python -m profiling race-report` reads the records.
"""
