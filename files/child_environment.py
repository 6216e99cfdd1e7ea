"""The environment of programs that Sealwire starts: what they need to run, and nothing that opens keys."""

import os
from typing import Final

_PASSED_ON: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)


def child_environment(*more: str) -> dict[str, str]:
    """The variables that a program gets; `more` are names that this one needs besides.

    Others may hold passphrases, tokens or keys.
    """
    return {name: os.environ[name] for name in (*_PASSED_ON, *more) if name in os.environ}
