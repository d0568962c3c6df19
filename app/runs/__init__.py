"""What visitors start: events of a run in, changes of the page out."""
