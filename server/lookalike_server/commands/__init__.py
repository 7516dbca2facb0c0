"""The command line of the server: options, their sources, and the life of the process."""
