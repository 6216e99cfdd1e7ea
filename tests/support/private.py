"""Files that only their owner may read."""

from pathlib import Path


def private(path: Path, text: str) -> Path:
    """The file with this text."""
    path.touch(0o600)
    path.write_text(text)
    return path
