"""JSON read without leniency: one type for each field, no field too many, no field twice."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from sealwire.keys.errors import DamagedFile, KeysReason


class Fields:
    """One JSON object while it is read. `done()` refuses fields that were not read.

    `where` names the file and the place in it, for messages; values are never shown.
    """

    def __init__(self, content: object, where: str) -> None:
        self._where = where
        if not isinstance(content, dict):
            self.refuse("is not an object")
        self._left: dict[str, Any] = dict(content)

    def refuse(self, what: str) -> NoReturn:
        """Raise DamagedFile SCHEMA about this place."""
        raise DamagedFile(
            KeysReason.SCHEMA,
            f"{self._where} {what}",
            "the file was not written by this release; restore a backup",
        )

    def _take(self, name: str) -> Any:
        if name not in self._left:
            self.refuse(f"lacks {name}")
        return self._left.pop(name)

    def has(self, name: str) -> bool:
        """Whether there is such a field that was not read yet."""
        return name in self._left

    def text(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str):
            self.refuse(f"has a {name} that is not text")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or an explicit null; the field itself must be there."""
        value = self._take(name)
        if value is not None and not isinstance(value, str):
            self.refuse(f"has a {name} that is neither text nor null")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        value = self._take(name)
        # type(), because a bool is an int to isinstance
        if type(value) is not int or not low <= value <= high:
            wanted = str(low) if low == high else f"a whole number from {low} to {high}"
            self.refuse(f"has a {name} that is not {wanted}")
        return value

    def binary(self, name: str, low_bytes: int, high_bytes: int) -> bytes:
        return self.decode(name, self.text(name), low_bytes, high_bytes)

    def decode(self, name: str, encoded: str, low_bytes: int, high_bytes: int) -> bytes:
        """Strict base64 with the given bounds on what it decodes to."""
        try:
            value = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            self.refuse(f"has a {name} that is not base64")
        if not low_bytes <= len(value) <= high_bytes:
            self.refuse(f"has a {name} of the wrong length")
        return value

    def flag(self, name: str) -> bool:
        """Whether the field is there; it is never there to say no."""
        if not self.has(name):
            return False
        if self._take(name) is not True:
            self.refuse(f"has a {name} that is not true")
        return True

    def sequence(self, name: str, max_items: int) -> list[Any]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) > max_items:
            self.refuse(f"has a {name} that is not a list of at most {max_items}")
        return value

    def object(self, name: str) -> "Fields":
        return Fields(self._take(name), f"{self._where}: {name}")

    def format(self, name: str, version: int, oldest: int | None = None) -> int:
        """Check `format` and `version`; the version, which may be from `oldest` to `version`.

        Raises DamagedFile SCHEMA or FORMAT_VERSION.
        """
        if self.text("format") != name:
            self.refuse(f"is not a {name} file")
        found = self.integer("version", 1, 2**31)
        if not (version if oldest is None else oldest) <= found <= version:
            raise DamagedFile(
                KeysReason.FORMAT_VERSION,
                f"{self._where} has version {found}, this release reads version {version}",
                "use the release that wrote it, or a later one",
            )
        return found

    def done(self) -> None:
        """Raises DamagedFile SCHEMA when a field is left that this release does not know."""
        if self._left:
            self.refuse(f"has {len(self._left)} unknown field(s)")


def parse(raw: bytes, filename: str) -> Fields:
    """The object that `raw` holds. Raises DamagedFile NOT_JSON or SCHEMA. `raw` is already bounded."""
    try:
        content = json.loads(raw.decode("ascii"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        raise DamagedFile(
            KeysReason.NOT_JSON,
            f"{filename} is not JSON",
            "check that the path is right; else restore a backup",
        ) from None
    return Fields(content, filename)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a field stands twice")
    return content


def serialize(content: Mapping[str, Any]) -> bytes:
    """The canonical text of `content`: fields in the given order, one a line, ASCII, a newline at the end."""
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def require_exact(raw: bytes, canonical: bytes, filename: str) -> None:
    """Refuse a file with the content of `canonical` in other bytes: Sealwire did not write it.

    With it a change of any byte is noticed, also where JSON and base64 would read over it.
    Raises DamagedFile TAMPERED.
    """
    if raw != canonical:
        raise DamagedFile(
            KeysReason.TAMPERED, f"{filename} was edited or altered", "restore the file from a backup"
        )


def encode(value: bytes) -> str:
    """Base64 as `Fields.binary` reads it."""
    return base64.b64encode(value).decode("ascii")
