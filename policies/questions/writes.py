"""What a write may ask, so that it does to each document what plaintext would have let it do.

A filter decides whether a document is written, at the moment at which it is: its list is compared then. So
an update, a delete or `findAndModify` may ask anywhere. What decides more than that needs one point in time,
which only a transaction has: whether an upsert inserts, and which values of an array are changed or pulled.
A statement that comes after others in one command sees what these have written. The question does not: it is
asked before all of them.
"""

from typing import Final, final

from sealwire.policies.file.schema import is_transparent, parts_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

IN_TRANSACTION: Final = ", which needs a transaction"
"""Ends the rule of a refusal for what is answered there."""


@final
class Written:
    """The fields that earlier statements of a command may have written."""

    __slots__ = ("_is_any", "_paths")

    def __init__(self) -> None:
        self._is_any = False
        self._paths: list[list[bytes]] = []

    def note(self, buf: bytes, update: Element | None, *, inserts: bool) -> None:
        """A statement with this update comes before what follows; `inserts`: it may insert a document.

        Raises BsonError. Cost: O(paths of the update).
        """
        first = (
            None if update is None or update.kind != kinds.OBJECT else next(elements(buf, update.value), None)
        )
        if update is None or first is None or inserts or not first.name.startswith(b"$"):
            self._is_any = True  # a pipeline, a replacement, or what an upsert takes from its filter
            return
        for operator in elements(buf, update.value):
            if not operator.name.startswith(b"$") or operator.kind != kinds.OBJECT:
                self._is_any = True  # a replacement
            elif operator.name == b"$rename":
                self._is_any = True
            elif operator.name != b"$unset":
                self._paths.extend(_names(argument.name) for argument in elements(buf, operator.value))

    def meets(self, path: str) -> bool:
        """Whether a value at a path may come from an earlier statement. Cost: O(paths)."""
        names = path.encode().split(b".")
        return self._is_any or any(each[: len(names)] == names[: len(each)] for each in self._paths)


def _names(path: bytes) -> list[bytes]:
    return [part for part in parts_of(path) if not is_transparent(part)]
