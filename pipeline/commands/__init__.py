"""Commands of the command line that are kept out of ``cli.py`` for its length, one subject a module."""
