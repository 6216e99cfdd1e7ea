"""The type bytes of BSON as plain integers, by the names MongoDB's `$type` gives them.

Plain integers, and no enumeration: they are compared for every element, and a compiler puts them in place.
Source: bsonspec.org version 1.1, the deprecated types included.
"""

from typing import Final

DOUBLE: Final = 0x01
STRING: Final = 0x02
OBJECT: Final = 0x03
ARRAY: Final = 0x04
BIN_DATA: Final = 0x05
UNDEFINED: Final = 0x06
OBJECT_ID: Final = 0x07
BOOL: Final = 0x08
DATE: Final = 0x09
NULL: Final = 0x0A
REGEX: Final = 0x0B
DB_POINTER: Final = 0x0C
JAVASCRIPT: Final = 0x0D
SYMBOL: Final = 0x0E
JAVASCRIPT_WITH_SCOPE: Final = 0x0F
INT: Final = 0x10
TIMESTAMP: Final = 0x11
LONG: Final = 0x12
DECIMAL: Final = 0x13
MAX_KEY: Final = 0x7F
MIN_KEY: Final = 0xFF
