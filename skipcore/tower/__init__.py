"""Watching the vision tower, and merging tokens inside it."""
