"""The training loop: joins a strategy, an executor and the record."""
