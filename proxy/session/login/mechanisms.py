"""By which mechanism a client logs in, as a label for figures: one of a closed set, never the client's word.

Source: Authentication (driver specifications), "Supported authentication methods".
"""

from typing import Final

from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element, string_bytes

OTHER: Final = "other"
CERTIFICATE: Final = "MONGODB-X509"

MECHANISMS: Final = (
    *("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "GSSAPI"),
    *("MONGODB-AWS", "MONGODB-OIDC", CERTIFICATE, OTHER),
)
"""By the names that drivers use."""

_LABELS: Final = {name.encode(): name for name in MECHANISMS}


def mechanism_in(message: bytes, document: int) -> str:
    """What the `mechanism` of a `saslStart`, or of one inside a hello, is counted as. Raises BsonError."""
    named = find_element(message, document, b"mechanism")
    if named is None or named.kind != kinds.STRING:
        return OTHER
    return _LABELS.get(string_bytes(message, named), OTHER)
