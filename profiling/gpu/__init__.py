"""Memory, energy and samples of GPUs."""
