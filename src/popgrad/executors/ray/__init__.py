"""The executor `ray`: members train in actors of a Ray cluster. It is imported only if chosen."""
