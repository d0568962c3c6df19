"""What skipping each sub-layer changes, and the choice of what to skip."""
