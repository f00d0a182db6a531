"""The command line: flags into the calls of the library; no mathematics."""
