"""The pure part: standard library and NumPy, no files, no clock, no global random state."""
