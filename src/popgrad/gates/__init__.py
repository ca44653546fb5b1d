"""Gates: what a foreign file may make popgrad do. One for code, one for paths, one for sizes."""
