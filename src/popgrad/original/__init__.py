"""The JSON files of the project that popgrad grew out of, read as a configuration of ours.

They have the sections general, train, test and val. Keys that start with PBT_ are searched: two numbers are
a range, more are choices. Every key is checked, also where it has no effect, and a note says why it has none.
"""

from popgrad.original.conversion import convert, is_original

__all__ = ["convert", "is_original"]
