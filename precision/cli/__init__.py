"""The command line: one file a command, which asks `reports`, late, for pages and files."""
