"""The executor `ray`: members train in actors of a Ray cluster. Imported only if it is asked for."""
