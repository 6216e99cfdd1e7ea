"""What is dumped of a server is what mongodump would dump."""

import pytest

from sealwire.sidecars.backup.dumping.inventory import is_skipped


@pytest.mark.parametrize(
    ("database", "collection", "skipped"),
    [
        ("clinic", "patients", False),
        ("clinic", "system.js", False),
        ("clinic", "system.views", True),
        ("clinic", "system.buckets.weather", True),
        ("clinic", "a$b", True),
        ("clinic", "a.oplog.$main", False),
        ("admin", "settings", False),
        ("admin", "system.users", True),
        ("admin", "system.keys", True),
    ],
)
def test_collections_of_the_server_itself_are_left_out(database: str, collection: str, skipped: bool) -> None:
    assert is_skipped(database, collection) is skipped
