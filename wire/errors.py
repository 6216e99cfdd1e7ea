"""What can be wrong with bytes from a peer. Messages carry offsets and reasons, never content."""

from enum import Enum


class WireReason(Enum):
    """Stable names of the ways in which bytes can break the protocol."""

    TLS = "tls"
    """Not a message but the beginning of TLS, whose length as a message would be wrong."""
    MESSAGE_LENGTH = "message-length"
    MESSAGE_TRUNCATED = "message-truncated"
    MESSAGE_TRAILING = "message-trailing"
    OPCODE = "opcode"
    FLAGS = "flags"
    SECTION_KIND = "section-kind"
    SECTION_LENGTH = "section-length"
    SECTION_DUPLICATE = "section-duplicate"
    SECTION_COUNT = "section-count"
    SECTION_IDENTIFIER = "section-identifier"
    SECTION_MISSING_BODY = "section-missing-body"
    CHECKSUM = "checksum"
    COMPRESSOR = "compressor"
    COMPRESSED_SIZE = "compressed-size"
    COMPRESSED_DATA = "compressed-data"
    COMPRESSED_LOGIN = "compressed-login"
    NAMESPACE = "namespace"
    DOCUMENT_COUNT = "document-count"
    REQUEST_ID = "request-id"
    RESPONSE_TO = "response-to"
    BSON_LENGTH = "bson-length"
    BSON_TYPE = "bson-type"
    BSON_STRING = "bson-string"
    BSON_VALUE = "bson-value"
    BSON_TERMINATOR = "bson-terminator"
    BSON_DEPTH = "bson-depth"


class ProtocolError(Exception):
    """A peer sent bytes that are not the MongoDB wire protocol; the connection cannot be resynchronised.

    The wire room does not know which peer it reads from: the session decides whose fault it is.
    """

    def __init__(self, reason: WireReason, offset: int) -> None:
        super().__init__(f"{reason.value} at byte {offset}")
        self.reason = reason
        self.offset = offset


class BsonError(ProtocolError):
    """A document inside a message is not well-formed BSON."""
