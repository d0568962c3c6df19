"""One file a chart: the figure of a report or a record, its key, what it shows in a sentence, and its table."""
