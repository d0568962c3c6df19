"""The methods: one small file each, and one entry here."""

from skipcore.methods.dense import Dense
from skipcore.methods.method import Method
from skipcore.methods.skip_vision import SkipVision

METHODS: dict[str, type[Method]] = {method.__name__: method for method in (Dense, SkipVision)}

__all__ = ["METHODS", "Dense", "Method", "SkipVision"]
