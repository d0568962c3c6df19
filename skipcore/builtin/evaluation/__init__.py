"""How often a model answers rightly, dense and under any method, beside a guesser who does not look."""
