"""Is what is open encrypted? Every way in which it is not, or in which nobody can say."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.journal import Phase, Record, StepId, StepState, VolumeJournal
from sealwire.sidecars.luks.machine import Completed, OpenFile
from sealwire.sidecars.luks.status import is_encrypted, look
from sealwire.sidecars.luks.volume import parse_source, read_passphrase
from tests.sidecars.luks import story
from tests.sidecars.luks.model import Model
from tests.sidecars.luks.story import SETTINGS, running_machine
from tests.sidecars.luks.test_preflight import site
from tests.support.reasons import raising

CRYPT, LVM, DISK, RAID = "253:0", "253:1", "8:0", "9:0"


@dataclass(slots=True)
class Kernel(Model):
    """A machine whose /sys and /proc say what a test says."""

    sys: dict[str, bytes] = field(default_factory=dict)
    opened: tuple[OpenFile, ...] = ()

    def read(self, path: Path, max_bytes: int = 1 << 20) -> bytes | None:
        return self.sys.get(str(path).removeprefix("/sys/dev/block/")) or Model.read(self, path)

    def names_in(self, path: Path) -> tuple[str, ...]:
        prefix = str(path).removeprefix("/sys/dev/block/") + "/"
        found = {name.removeprefix(prefix).partition("/")[0] for name in self.sys if name.startswith(prefix)}
        return tuple(sorted(found)) or Model.names_in(self, path)

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        return self.opened


def kernel(*opened: OpenFile) -> Kernel:
    machine = story.running_machine(Kernel)
    assert isinstance(machine, Kernel)
    story.set_up_with(machine)
    machine.opened = opened
    machine.sys = {
        f"{CRYPT}/dm/uuid": b"CRYPT-LUKS2-0123-mongodb\n",
        f"{LVM}/dm/uuid": b"LVM-abc\n",
        f"{LVM}/slaves/dm-0/dev": b"253:0\n",
        f"{RAID}/slaves/dm-0/dev": b"253:0\n",
        f"{RAID}/slaves/sda/dev": b"8:0\n",
    }
    return machine


@pytest.mark.parametrize(
    ("device", "encrypted"), [(CRYPT, True), (LVM, True), (DISK, False), (RAID, False), ("0:45", False)]
)
def test_a_device_counts_as_encrypted_when_all_below_it_is_luks(device: str, *, encrypted: bool) -> None:
    assert is_encrypted(kernel(), device) is encrypted


def test_plain_dm_crypt_without_a_header_is_not_luks() -> None:
    machine = kernel()
    machine.sys["253:9/dm/uuid"] = b"CRYPT-PLAIN-x\n"
    assert not is_encrypted(machine, "253:9")


def test_devices_that_lead_in_a_circle_end() -> None:
    machine = kernel()
    machine.sys = {"1:1/slaves/a/dev": b"1:2\n", "1:2/slaves/b/dev": b"1:1\n"}
    assert not is_encrypted(machine, "1:1")


def ask(machine: Kernel) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    found = look(machine, Path(story.DATA), "mongod.service")
    return found.encrypted, found.plain_files, found.plain_elsewhere


def test_all_on_the_volume_is_a_yes_and_a_log_elsewhere_is_only_told() -> None:
    machine = kernel(OpenFile(f"{story.DATA}/a.wt", CRYPT), OpenFile("/var/log/mongod.log", DISK))
    assert ask(machine) == (True, (), ("/var/log/mongod.log",))


@pytest.mark.parametrize("path", [f"{story.DATA}/a.wt", f"{story.OLD}/a.wt", f"{story.DATA}/a.wt (deleted)"])
def test_one_data_file_on_a_plain_disk_is_a_no(path: str) -> None:
    """As when the service was running while the volume was mounted over its directory."""
    machine = kernel(OpenFile(f"{story.DATA}/b.wt", CRYPT), OpenFile(path, DISK))
    assert ask(machine) == (False, (path,), ())


def test_a_directory_that_is_not_on_the_volume_is_a_no_whatever_is_open() -> None:
    machine = kernel()
    machine.mounts.clear()
    assert not look(machine, Path(story.DATA), "mongod.service").encrypted
    assert not look(machine, Path("/missing"), "mongod.service").encrypted


def test_a_service_that_is_down_is_judged_by_its_directory() -> None:
    machine = kernel()
    machine.active = False
    found = look(machine, Path(story.DATA), "mongod.service")
    assert (found.encrypted, found.service_pid, found.encrypted_files) == (True, None, 0)


# Where a passphrase may come from, and what never happens to it.


STRONG = "correct horse battery staple"


def never() -> str:
    raise AssertionError("nobody was to be asked")


def descriptor_with(content: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


@pytest.mark.parametrize("setting", ["prompt", "fd:3", "file:/a:b", "systemd-creds:/x"])
def test_a_source_is_not_read_before_it_is_needed(setting: str) -> None:
    assert callable(parse_source(setting))


@pytest.mark.parametrize(
    "setting", ["", "fd", "fd:", "fd:x", "fd:-1", "fd:12345678", "file:", STRONG, "prompt:x"]
)
def test_what_is_not_understood_is_not_shown(setting: str) -> None:
    with raising(Unusable, LuksReason.SECRET_SOURCE) as caught:
        parse_source(setting)
    assert STRONG not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_from_a_descriptor_without_its_line_end(end: bytes) -> None:
    number = descriptor_with(STRONG.encode() + end)
    source = parse_source(f"fd:{number}")
    assert read_passphrase(source, site(), never, is_new=True) == STRONG.encode()
    os.close(number)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines of it that are long", b"\xff" * 30, b"x" * 5000]
)
def test_what_is_no_line_of_text_is_refused(content: bytes) -> None:
    number = descriptor_with(content)
    with raising(KeySettingError, KeysReason.PASSPHRASE_MISSING):
        read_passphrase(parse_source(f"fd:{number}"), site(), never)
    os.close(number)


def test_a_descriptor_that_is_not_open_is_an_error_of_the_setting() -> None:
    number = descriptor_with(b"")
    os.close(number)
    with raising(Unusable, LuksReason.SECRET_SOURCE):
        read_passphrase(parse_source(f"fd:{number}"), site(), never)


def test_from_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "pass:phrase"
    path.touch(0o600)
    path.write_text(STRONG + "\n")
    assert read_passphrase(parse_source(f"file:{path}"), site(), never) == STRONG.encode()


def test_from_a_credential_of_systemd() -> None:
    machine = site()
    machine.answers["systemd-creds decrypt /x -"] = Completed(0, STRONG.encode())
    assert read_passphrase(parse_source("systemd-creds:/x"), machine, never) == STRONG.encode()
    machine.answers["systemd-creds decrypt /x -"] = Completed(1, b"", b"bad")
    with pytest.raises(Unusable):
        read_passphrase(parse_source("systemd-creds:/x"), machine, never)


def test_a_new_passphrase_has_to_be_strong_an_old_one_need_not() -> None:
    assert read_passphrase(parse_source("prompt"), site(), lambda: "weak") == b"weak"
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK):
        read_passphrase(parse_source("prompt"), site(), lambda: "weak", is_new=True)


def test_the_same_letters_are_the_same_passphrase() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    assert read_passphrase(parse_source("prompt"), site(), lambda: composed) == read_passphrase(
        parse_source("prompt"), site(), lambda: decomposed
    )


# The journal: strict, whole, and honest about what may come next.


PATH = Path("/var/lib/sealwire/luks/mongodb.json")
RECORD = Record(Phase.SETTING_UP, SETTINGS, "u-1", False, True, {StepId.FORMAT: StepState.BEGUN})


def test_what_is_saved_is_what_is_read() -> None:
    machine = running_machine()
    journal = VolumeJournal.create(machine, RECORD)
    journal.mark(StepId.FORMAT, StepState.DONE)
    journal.enter(Phase.COMPLETE)
    found = VolumeJournal.open(machine, SETTINGS.name).record
    assert found.state(StepId.FORMAT) is StepState.DONE
    assert found.state(StepId.MOUNT) is StepState.PENDING
    assert replace(found, steps={}) == replace(RECORD, phase=Phase.COMPLETE, steps={})
    assert machine.status(PATH) is not None
    assert machine.tree["var/lib/sealwire/luks/mongodb.json"].mode == 0o600


def test_marking_what_is_marked_already_writes_nothing() -> None:
    machine = running_machine()
    journal = VolumeJournal.create(machine, RECORD)
    before = machine.changes
    journal.mark(StepId.FORMAT, StepState.BEGUN)
    journal.enter(Phase.SETTING_UP)
    assert machine.changes == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-10],
        lambda raw: raw.replace(b"setting-up", b"setting-down"),
        lambda raw: raw.replace(b'"begun"', b'"maybe"'),
        lambda raw: raw.replace(b'"format": "begun"', b""),
        lambda raw: raw.replace(b'"version": 1,', b'"version": 2,'),
        lambda raw: raw.replace(b'"uuid"', b'"uuid2"'),
        lambda _: b"[]",
    ],
)
def test_a_damaged_journal_is_refused(damage: object) -> None:
    machine = running_machine()
    VolumeJournal.create(machine, RECORD)
    node = machine.node(PATH)
    assert node is not None
    assert callable(damage)
    changed = damage(node.content)
    assert changed != node.content
    node.content = changed
    with pytest.raises(DamagedFile):
        VolumeJournal.open(machine, SETTINGS.name)


def test_no_journal_is_an_answer_of_its_own() -> None:
    with raising(Unusable, LuksReason.JOURNAL_MISSING):
        VolumeJournal.open(running_machine(), SETTINGS.name)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_way_on(phase: Phase) -> None:
    journal = VolumeJournal.create(running_machine(), replace(RECORD, phase=phase))
    with raising(Unusable, LuksReason.JOURNAL_PHASE) as caught:
        journal.require("do it")
    assert caught.value.hint
