"""The seams: a method at work on a stock model."""
