"""A report as table, CSV, HTML page, trace and record."""
