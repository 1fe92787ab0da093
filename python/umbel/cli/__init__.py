"""The command line: `umbel`. One file a command; commands are imported when they are used."""

from umbel.cli.root import main

__all__ = ["main"]
