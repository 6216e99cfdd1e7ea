"""What indexes say of where a scan may meet values that move."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sealwire.policies.file.schema import PathNode
from sealwire.sidecars.migration.windows.order import ClassPaths
from sealwire.sidecars.migration.windows.server import walked_fields

PLACES = [ClassPaths("clinic.patients", PathNode(""), ("nhs", "kin.nhs"))]


class Listing:
    """A server with the indexes of one collection."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self._keys = keys

    def get_database(self, *_args: object) -> "Listing":
        return self

    def get_collection(self, _name: str) -> Any:
        return SimpleNamespace(list_indexes=lambda: [{"name": str(key), "key": key} for key in self._keys])


@pytest.mark.parametrize(
    ("keys", "walked"),
    [
        ([], set()),
        ([{"_id": 1}, {"nhs": 1}, {"nhs": 1, "ward": 1}, {"ward": 1, "bed": 1}], set()),
        ([{"ward": 1, "nhs": 1}, {"a.b": -1, "c": 1, "kin.nhs": 1}], {b"ward", b"a.b"}),
        ([{"nhs": 1, "kin.nhs": 1}], {b"nhs"}),
        ([{"ward": 1, "kin": 1}, {"bed": 1, "nhs.x": 1}], {b"ward", b"bed"}),
        ([{"ward": 1, "$**": 1}], {b"ward"}),
        ([{"$**": 1}], set()),
        ([{"a.$**": 1, "nhs": 1}], None),
    ],
)
def test_an_index_is_walked_by_its_first_field_if_a_path_stands_behind_it(
    keys: list[dict[str, Any]], walked: set[bytes] | None
) -> None:
    found = walked_fields(cast(Any, Listing(*keys)), PLACES)
    assert found == (None if walked is None else frozenset(walked))
