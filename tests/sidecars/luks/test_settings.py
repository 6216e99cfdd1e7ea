"""What an operator may ask for, and that a journal keeps all of it."""

from pathlib import Path
from typing import Any

import pytest

from sealwire.keys import strict_json
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.settings import FileSystem, Pbkdf, VolumeSettings, from_fields, to_json

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
    with pytest.raises(Unusable) as caught:
        VolumeSettings(**{"device": Path("/dev/sdb"), **change})
    assert caught.value.reason is LuksReason.SETTING


@pytest.mark.parametrize("costs", [(31, None, None), (None, 3, None), (None, None, 5), (1 << 23, None, None)])
def test_argon2_costs_have_bounds(costs: tuple[int | None, int | None, int | None]) -> None:
    with pytest.raises(Unusable):
        Pbkdf(*costs)


def test_costs_that_are_not_given_are_left_to_cryptsetup() -> None:
    assert Pbkdf().arguments == ("--pbkdf", "argon2id")
    assert "--pbkdf-memory" in Pbkdf(64).arguments
