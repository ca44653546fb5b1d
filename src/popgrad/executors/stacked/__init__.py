"""The executor `vectorised`: all members train as one stacked model. README.md says what to read first."""
