"""How the built-in model was made: data, training, evaluation. `python -m skipcore.builtin --help`."""
