"""Dashboard: the pages of runs, from a server on this machine that reads records and writes nothing."""
