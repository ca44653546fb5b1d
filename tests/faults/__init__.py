"""Faults that tests cause: kills at chosen moments, members that break, disks that are full or fail.

The product has no hooks for them. Each is put where the product hands over to somebody else: to the task, the
strategy, the file system, the database.
"""
