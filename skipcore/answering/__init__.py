"""Questions in, answers out: one, many, or a conversation."""
