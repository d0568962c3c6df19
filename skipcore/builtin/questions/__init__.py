"""Questions about scenes, with their true answers."""
