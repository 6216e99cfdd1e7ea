"""Where everything goes is decided before the target is touched."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sealwire.sidecars.backup.archive.metadata import CollectionKind, CollectionMetadata
from sealwire.sidecars.backup.restoring.plan import (
    ROLES,
    USERS,
    Part,
    RestoreEntry,
    RestorePlan,
    opened,
    parse_rename,
    plan,
    purpose_of,
)
from sealwire.sidecars.errors import BackupReason, Unusable
from tests.support.reasons import raising


def collection(namespace: str) -> CollectionMetadata:
    database, _, name = namespace.partition(".")
    return CollectionMetadata(database, name, CollectionKind.COLLECTION, {}, ())


def view(namespace: str, on: str) -> CollectionMetadata:
    database, _, name = namespace.partition(".")
    return CollectionMetadata(database, name, CollectionKind.VIEW, {"viewOn": on, "pipeline": []}, ())


FOUND = [
    collection("clinic.patients"),
    collection("clinic.appointments.old"),
    view("clinic.adults", "patients"),
    collection("other.patients"),
    collection("admin.system.users"),
    collection("admin.system.roles"),
    collection("admin.system.version"),
    collection("admin.settings"),
    collection("config.chunks"),
]


def planned(*renames: str, only: Sequence[str] = (), logins: bool = False) -> RestorePlan:
    return plan(FOUND, dict(map(parse_rename, renames)), only, logins=logins)


def pairs(found: RestorePlan) -> dict[str, str]:
    return {item.source: item.target for item in found.collections}


def test_without_a_rename_everything_goes_where_it_was_but_what_is_the_servers_own() -> None:
    found = planned()
    expected = {item.namespace for item in FOUND[:4]} | {"admin.settings"}
    assert pairs(found) == {name: name for name in expected}
    assert {name for name, _ in found.left_out} == {
        "admin.system.users",
        "admin.system.roles",
        "admin.system.version",
        "config.chunks",
    }


def test_a_database_and_one_collection_of_it_can_be_renamed_and_the_particular_rename_wins() -> None:
    found = pairs(planned("clinic.patients=spare.people", "clinic=copy", only=["clinic.patients", "clinic"]))
    assert found == {"clinic.patients": "spare.people", "clinic.appointments.old": "copy.appointments.old"}


def test_a_view_follows_the_name_of_its_collection() -> None:
    found = planned("clinic.patients=clinic.people")
    (adults,) = [item for item in found.collections if item.part is Part.VIEW]
    assert (adults.target, adults.view_on) == ("clinic.adults", "people")


def test_a_view_is_left_out_where_its_collection_goes_to_another_database() -> None:
    found = planned("clinic.patients=spare.people")
    assert "clinic.adults" not in pairs(found)
    assert "clinic.adults" in dict(found.left_out)


def test_users_and_roles_go_where_the_server_takes_them_over_from() -> None:
    found = planned(only=["admin"], logins=True)
    assert pairs(found) == {
        "admin.system.users": f"admin.{USERS}",
        "admin.system.roles": f"admin.{ROLES}",
        "admin.settings": "admin.settings",
    }


@pytest.mark.parametrize("only", ["nowhere", "clinic.nothing", "clinic.patients.x"])
def test_a_name_that_is_not_in_the_backup_is_refused(only: str) -> None:
    with raising(Unusable, BackupReason.SELECTION):
        planned(only=[only])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a=",
        "=b",
        "a=b.c",
        "a.b=c",
        "a.=b.c",
        "a.b=c.",
        "a=b/c",
        "a=b c",
        "clinic=admin",
        "a.b=local.c",
    ],
)
def test_what_does_not_rename_is_refused(text: str) -> None:
    with raising(Unusable, BackupReason.RENAME):
        parse_rename(text)


def test_two_collections_never_become_one() -> None:
    with raising(Unusable, BackupReason.RENAME):
        planned("clinic=other")


def test_a_second_run_finds_what_the_first_one_did(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.json"
    with opened(path, "one") as journal:
        assert not journal.resumed
        journal.begin("clinic.a")
        journal.begin("clinic.a", "ab")
        journal.add("clinic.a", 5)
        journal.begin("clinic.b")
        # as a killed process leaves it: nothing is written at the end
        found = json.loads(path.read_bytes())
        assert [row["documents"] for row in found["collections"]] == [5, 0]
    with opened(path, "one") as journal:
        assert journal.resumed
        assert list(journal.entries.items()) == [
            ("clinic.a", RestoreEntry("ab", 5)),
            ("clinic.b", RestoreEntry("")),
        ]
        journal.complete(["clinic.a"])
        assert journal.entries["clinic.a"].whole
        journal.remove()
    with opened(path, "another") as journal:
        assert not journal.resumed
        assert "clinic.a" not in journal.entries


def test_the_journal_of_another_restore_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    with opened(path, "one") as journal:
        journal.begin("clinic.a")
    with raising(Unusable, BackupReason.JOURNAL_OTHER), opened(path, "another"):
        pass


def test_two_restores_do_not_share_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    with opened(path, "one"), raising(Unusable, BackupReason.JOURNAL), opened(path, "one"):
        pass


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "sealwire-restore-journal", "version": 2}'])
def test_a_damaged_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with raising(Unusable, BackupReason.JOURNAL), opened(path, "one"):
        pass


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with raising(Unusable, BackupReason.JOURNAL), opened(tmp_path / "file" / "journal.json", "one"):
        pass


def test_dump_target_and_names_each_make_another_restore() -> None:
    purposes = {
        purpose_of(*arguments)
        for arguments in (
            ("d", "t", [("a.b", "a.b")]),
            ("e", "t", [("a.b", "a.b")]),
            ("d", "u", [("a.b", "a.b")]),
            ("d", "t", [("a.b", "a.c")]),
        )
    }
    assert len(purposes) == 4
