"""Scenes: synthetic pictures of everyday things, shapes and signs, and questions with true answers."""
