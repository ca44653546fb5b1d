"""Training loops of users as tasks: the script stays, and a member drives it from interval to interval."""
