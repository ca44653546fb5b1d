"""Comparisons of runs: whether a strategy helped, by how much, and how sure that is."""
