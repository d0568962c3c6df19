"""What is drawn of single tokens."""
