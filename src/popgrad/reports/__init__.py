"""Reports of a record: tables, text, figures, events, and plain data."""
