"""Several processes for many files, and what a signal does to a command."""
