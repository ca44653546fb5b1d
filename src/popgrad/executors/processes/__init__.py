"""The executor `processes`: a pool of persistent worker processes."""
