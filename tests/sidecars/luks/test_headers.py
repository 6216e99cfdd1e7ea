"""A sealed header opens under its key-encryption key only, and only unaltered."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KekDenied, KeysError
from sealwire.keys.kek.kek import LocalKek
from sealwire.sidecars.errors import LuksReason, SidecarError, Unsound, Unusable
from sealwire.sidecars.luks import headers, tables
from sealwire.sidecars.luks.settings import FileSystem, Pbkdf, VolumeSettings, from_fields, to_json
from tests.support.reasons import raising

KEK = LocalKek(bytes(range(32)))
RAW = b"LUKS\xba\xbe" + bytes(1000)
SEALED = headers.seal(RAW, "u-1", "2026-01-31T12:00:00Z", KEK)


def test_what_was_sealed_comes_back_and_the_head_says_what_it_is() -> None:
    head, raw = headers.unseal(SEALED, KEK, "f")
    assert raw == RAW
    assert (head.uuid, head.created, head.kek_id) == ("u-1", "2026-01-31T12:00:00Z", KEK.id)
    assert RAW[:6] not in SEALED


def test_two_seals_of_one_header_have_nothing_in_common_but_the_head() -> None:
    again = headers.seal(RAW, "u-1", "2026-01-31T12:00:00Z", KEK)
    assert again[-900:] != SEALED[-900:]


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(position: int, change: int) -> None:
    altered = bytearray(SEALED)
    altered[position] ^= change
    with pytest.raises((SidecarError, KeysError)):
        headers.unseal(bytes(altered), KEK, "f")


@given(st.integers(0, len(SEALED) - 1))
def test_a_cut_anywhere_is_noticed(length: int) -> None:
    with pytest.raises((SidecarError, KeysError)):
        headers.unseal(SEALED[:length], KEK, "f")


FOREIGN = (b"", b"x", b"\xff" * 100, bytes(100), b"\0" * 7 + b"\x02" + b"{}" + bytes(16))


@pytest.mark.parametrize(
    ("content", "kek", "error"),
    [
        pytest.param(SEALED + b"x", KEK, Unsound, id="more at the end"),
        pytest.param(SEALED, LocalKek(bytes(range(1, 33))), KekDenied, id="another key"),
        *((content, KEK, DamagedFile) for content in FOREIGN),
    ],
)
def test_another_key_and_a_foreign_file_fail(content: bytes, kek: LocalKek, error: type[Exception]) -> None:
    with pytest.raises(error):
        headers.unseal(content, kek, "f")


def test_a_header_that_is_too_long_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="too long"):
        headers.seal(bytes(headers.MAX_RAW_BYTES + 1), "u", "t", KEK)


# Lines for crypttab and fstab that can be taken away again, and the options that a boot needs.


KEYED = VolumeSettings(Path("/dev/sdb"), key_file=Path("/etc/k"), file_system=FileSystem.EXT4)
LINE = "mongodb UUID=1 /etc/k luks"


@given(st.text(st.sampled_from("ab #\n"), max_size=40))
def test_taking_an_entry_away_gives_back_every_byte(text: str) -> None:
    entered = tables.with_entry(text, "mongodb", LINE)
    assert LINE in entered.splitlines()
    assert tables.has_entry(entered, "mongodb", LINE)
    assert tables.without_entry(entered, "mongodb") == text
    assert tables.with_entry(entered, "mongodb", LINE) == entered


@given(st.text(st.sampled_from("ab #\n"), max_size=40), st.text(st.sampled_from("ab #\n"), max_size=10))
def test_lines_that_others_add_behind_it_stay(text: str, added: str) -> None:
    entered = tables.with_entry(text, "mongodb", LINE) + added
    assert tables.without_entry(entered, "mongodb") == text + added


def test_the_entries_of_two_volumes_do_not_touch_each_other() -> None:
    both = tables.with_entry(tables.with_entry("", "a", "a line"), "b", "b line")
    assert tables.without_entry(both, "a") == tables.with_entry("", "b", "b line")


def test_a_missing_key_neither_stops_the_boot_nor_asks_a_console_that_nobody_watches() -> None:
    fields = tables.crypttab_line(KEYED, "1234").split()
    assert fields[:3] == ["mongodb", "UUID=1234", "/etc/k"]
    assert {"luks", "nofail", "headless=true"} <= set(fields[3].split(","))
    assert "discard" not in fields[3]


def test_without_a_key_file_the_boot_asks() -> None:
    fields = tables.crypttab_line(VolumeSettings(Path("/dev/sdb"), discard=True), "1234").split()
    assert fields[2] == "none"
    assert "headless" not in fields[3]
    assert "discard" in fields[3].split(",")


def test_an_image_is_named_by_its_path() -> None:
    settings = VolumeSettings(Path("/srv/m.img"), image_bytes=1 << 30)
    assert tables.crypttab_line(settings, "1234").split()[1] == "/srv/m.img"


def test_the_mount_is_no_place_for_programs_and_no_reason_to_stop_a_boot() -> None:
    fields = tables.fstab_line(KEYED).split()
    assert fields[:3] == ["/dev/mapper/mongodb", "/var/lib/mongodb", "ext4"]
    assert {"nofail", "nodev", "nosuid", "noexec"} <= set(fields[3].split(","))
    assert fields[5] == "2"
    assert tables.fstab_line(VolumeSettings(Path("/dev/sdb"))).split()[5] == "0"


def test_the_mount_waits_longer_than_the_unlocking() -> None:
    def seconds(line: str) -> int:
        return int(line.partition("device-timeout=")[2].partition("s")[0])

    assert seconds(tables.fstab_line(KEYED)) > seconds(tables.crypttab_line(KEYED, "1"))


def test_the_drop_in_binds_the_service_to_the_mount() -> None:
    lines = tables.drop_in(KEYED).splitlines()
    assert "RequiresMountsFor=/var/lib/mongodb" in lines
    assert "ConditionPathIsMountPoint=/var/lib/mongodb" in lines
    assert "ConditionPathExists=!/run/sealwire-luks/mongodb.hold" in lines


def test_a_field_that_is_taken_is_found_whoever_wrote_the_line() -> None:
    text = "# mongodb x\nother UUID=1 none\n  mongodb UUID=2 none\n"
    assert tables.is_taken(text, "mongodb", 0)
    assert not tables.is_taken(text, "UUID=3", 1)
    assert not tables.is_taken("# mongodb x\n\n", "mongodb", 0)


# What an operator may ask for, and that a journal keeps all of it.


FULL = VolumeSettings(
    Path("/dev/disk/by-id/x:1"),
    "db_2",
    Path("/srv/mongo"),
    "mongod@a.service",
    Path("/mnt/key/k"),
    FileSystem.EXT4,
    True,
    1 << 30,
    Pbkdf(64, 4, 2),
)


@pytest.mark.parametrize("settings", [FULL, VolumeSettings(Path("/dev/sdb"))])
def test_settings_come_back_from_a_journal_as_they_were(settings: VolumeSettings) -> None:
    raw = strict_json.serialize(to_json(settings))
    assert from_fields(strict_json.parse(raw, "test")) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a-b"},
        {"name": ""},
        {"name": "A"},
        {"name": "a" * 33},
        {"name": "a/b"},
        {"service": "mongod"},
        {"service": "../x.service"},
        {"service": "-h.service"},
        {"device": Path("sdb")},
        {"device": Path("/dev/../etc/passwd")},
        {"device": Path("/dev/sd b")},
        {"data_directory": Path("/var/lib")},
        {"data_directory": Path("/")},
        {"data_directory": Path("/var/lib/a%b")},
        {"data_directory": Path("/var/lib/a\nb")},
        {"key_file": Path("/var/lib/mongodb/key")},
        {"image_bytes": 1},
    ],
)
def test_what_could_mean_something_else_to_systemd_or_crypttab_is_refused(change: dict[str, Any]) -> None:
    with raising(Unusable, LuksReason.SETTING):
        VolumeSettings(**{"device": Path("/dev/sdb"), **change})


@pytest.mark.parametrize("costs", [(31, None, None), (None, 3, None), (None, None, 5), (1 << 23, None, None)])
def test_argon2_costs_have_bounds(costs: tuple[int | None, int | None, int | None]) -> None:
    with pytest.raises(Unusable):
        Pbkdf(*costs)


def test_costs_that_are_not_given_are_left_to_cryptsetup() -> None:
    assert Pbkdf().arguments == ("--pbkdf", "argon2id")
    assert "--pbkdf-memory" in Pbkdf(64).arguments
