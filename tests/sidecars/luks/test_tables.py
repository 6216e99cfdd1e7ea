"""Lines for crypttab and fstab that can be taken away again, and the options that a boot needs."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.luks import tables
from sealwire.sidecars.luks.settings import FileSystem, VolumeSettings

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
