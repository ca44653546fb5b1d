"""The record of a run as pure data: segments, decisions, lineages, schedules.

No files are read here.
"""
