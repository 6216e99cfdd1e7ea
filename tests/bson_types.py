"""The type bytes of BSON as an enumeration, for readable cases and failures."""

from enum import IntEnum

from sealwire.wire import kinds


class BsonType(IntEnum):
    """Element type bytes, by the names MongoDB's `$type` gives them."""

    DOUBLE = kinds.DOUBLE
    STRING = kinds.STRING
    OBJECT = kinds.OBJECT
    ARRAY = kinds.ARRAY
    BIN_DATA = kinds.BIN_DATA
    UNDEFINED = kinds.UNDEFINED
    OBJECT_ID = kinds.OBJECT_ID
    BOOL = kinds.BOOL
    DATE = kinds.DATE
    NULL = kinds.NULL
    REGEX = kinds.REGEX
    DB_POINTER = kinds.DB_POINTER
    JAVASCRIPT = kinds.JAVASCRIPT
    SYMBOL = kinds.SYMBOL
    JAVASCRIPT_WITH_SCOPE = kinds.JAVASCRIPT_WITH_SCOPE
    INT = kinds.INT
    TIMESTAMP = kinds.TIMESTAMP
    LONG = kinds.LONG
    DECIMAL = kinds.DECIMAL
    MAX_KEY = kinds.MAX_KEY
    MIN_KEY = kinds.MIN_KEY
