"""What a run keeps: the journal, the checkpoints, and queries over the record."""
