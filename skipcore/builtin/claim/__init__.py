"""The paper's claim, measured by our own training: dense, skipping and mixed from one start, side by side."""
