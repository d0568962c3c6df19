"""Loading models, and what users hand to them."""
