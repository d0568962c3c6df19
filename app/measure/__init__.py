"""Commands that measure a page while it is served."""
