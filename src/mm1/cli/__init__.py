"""The command line: `mm1 COMMAND`. Each command is a thin wrapper over a room; none holds logic of its own.

A mistake of the user is one sentence on standard error and exit code 2; `--debug` shows where it came from.
"""

from mm1.cli.main import main

__all__ = ["main"]
