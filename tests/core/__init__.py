"""A package, as there is a test_resize.py of whole runs too."""
