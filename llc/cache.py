"""What is kept between runs, each kind in a folder of its own."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """`$XDG_CACHE_HOME/llc/kind`, by default under `~/.cache`; it need not exist yet.

    >>> cache_folder("losses").parts[-2:]
    ('llc', 'losses')
    """
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "llc" / kind
