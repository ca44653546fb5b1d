"""The executor `vectorised`: all members train as one stacked model. Start with README.md."""
