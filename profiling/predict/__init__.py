"""Closed forms: FLOPs, bytes, roofs, and where a method breaks even."""
