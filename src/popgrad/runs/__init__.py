"""Runs: configuration, task, engine and directory are joined here."""
