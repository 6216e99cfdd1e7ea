"""Writes a report whole or not at all: who reads it meanwhile sees the old one or the new one."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from sealwire.sidecars.tls_check.errors import OutputProblem, TlsCheckReason

_MODE = 0o644  # a report holds no secret, and node_exporter reads as somebody else


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by a file with `content`. Raises OutputProblem OUTPUT; the old file stays then."""
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        hint = "check the folder, its permissions and the space on it"
        text = f"{path} cannot be written: {error.strerror or 'error'}"
        raise OutputProblem(TlsCheckReason.OUTPUT, text, hint) from None
