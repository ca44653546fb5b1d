"""A package, as tests/strategies has a test_schedule.py too."""
