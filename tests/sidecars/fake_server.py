"""A server that lists collections, counts documents and takes commands, in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client


@dataclass
class FakeServer:
    """`collections` by database, as listCollections has them; `counts` are the answers to counting."""

    collections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    refuses: bool = False
    commands: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return cast(Client, self)

    def list_database_names(self) -> list[str]:
        return list(self.collections)

    def get_database(self, name: str, *_: object) -> "FakeDatabase":
        return FakeDatabase(self, name)


@dataclass
class FakeDatabase:
    server: FakeServer
    name: str

    def list_collections(self) -> Iterator[dict[str, Any]]:
        return iter(self.server.collections.get(self.name, []))

    def get_collection(self, _name: str) -> "FakeDatabase":
        return self

    def count_documents(self, _filter: object) -> int:
        self._answer()
        return self.server.counts.pop(0)

    def command(self, command: Mapping[str, Any]) -> None:
        self._answer()
        self.server.commands.append((self.name, command))

    def _answer(self) -> None:
        if self.server.refuses:
            raise OperationFailure("no", 13, {"codeName": "Unauthorized"})
