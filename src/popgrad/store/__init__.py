"""Files of a run: the journal, the checkpoints, and queries over the record."""
