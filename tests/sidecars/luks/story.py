"""A machine with a running database on plaintext, and what has to hold at the end of every story."""

from dataclasses import replace
from pathlib import Path

from sealwire.sidecars.luks import steps
from sealwire.sidecars.luks.journal import Phase, VolumeJournal
from sealwire.sidecars.luks.settings import FileSystem, VolumeSettings
from tests.sidecars.luks.model import Model, Node


class Silent:
    """Reports to nobody."""

    def begin(self, title: str) -> None:
        """Nothing."""

    def expect(self, what: str, total_bytes: int) -> None:
        """Nothing."""

    def advance(self, count_bytes: int) -> None:
        """Nothing."""


PASSPHRASE = b"correct horse battery staple"
KEY_FILE = Path("/etc/cryptsetup-keys.d/mongodb.key")
DATA = "/var/lib/mongodb"
OLD = "/var/lib/mongodb.plain"
SETTINGS = VolumeSettings(Path("/dev/sdb"), key_file=KEY_FILE, file_system=FileSystem.EXT4)
WITHOUT_KEY_FILE = replace(SETTINGS, key_file=None)
TABLES = {
    "etc/fstab": b"UUID=1 / ext4 defaults 0 1\n/dev/sdc /srv ext4 ro 0 2",
    "etc/crypttab": b"# none yet\n",
}


def passphrase() -> bytes:
    return PASSPHRASE


def running_machine(kind: type[Model] = Model) -> Model:
    machine = kind(SETTINGS.device, SETTINGS.service, DATA)
    above = [str(each).lstrip("/") for each in Path(DATA).parents]
    for path in ("", "etc", "etc/systemd", "etc/systemd/system", *above, DATA.lstrip("/"), "run"):
        machine.tree[path] = Node(None, 0o755)
    machine.tree["run/systemd"] = machine.tree["run/systemd/system"] = Node(None, 0o755)
    machine.tree[DATA.lstrip("/")].mode = 0o750
    for path, content in TABLES.items():
        machine.put("/" + path, content)
    for name, content in (("WiredTiger", b"tiger"), ("collection-1.wt", b"patients"), ("journal", b"")):
        machine.put(f"{DATA}/{name}", content, 0o600)
    machine.boot()
    machine.changes = 0
    machine.commands.clear()
    return machine


def set_up(machine: Model, settings: VolumeSettings = SETTINGS, *, erase: bool = False) -> VolumeJournal:
    """Begin, or go on with what was begun."""
    journal = VolumeJournal.find(machine, "mongodb") or steps.begin(machine, settings, erase=erase)
    steps.go_on(steps.Context(machine, journal, passphrase, Silent()))
    return journal


def roll_back(machine: Model, *, abandon_volume: bool = False) -> None:
    journal = VolumeJournal.open(machine, "mongodb")
    steps.roll_back(steps.Context(machine, journal, passphrase, Silent(), abandon_volume))


def phase(machine: Model) -> Phase:
    return VolumeJournal.open(machine, "mongodb").record.phase


def finish(machine: Model) -> None:
    steps.finish(machine, VolumeJournal.open(machine, "mongodb"), Silent())


def assert_data_is_whole(machine: Model) -> None:
    """Everything that was there, and everything that the service ever wrote."""
    files = machine.files(DATA)
    assert files.pop("journal") == b"".join(b"%d," % number for number in range(1, machine.written + 1))
    assert files == {"WiredTiger": b"tiger", "collection-1.wt": b"patients"}


def assert_encrypted(machine: Model, wanted: Phase = Phase.COMPLETE) -> None:
    assert machine.mounts == {DATA: "mongodb"}
    assert machine.active
    assert_data_is_whole(machine)
    assert machine.tree[DATA.lstrip("/")].immutable
    assert machine.volumes["/dev/sdb"].slots[0] == PASSPHRASE
    assert phase(machine) is wanted


def assert_plaintext(machine: Model) -> None:
    """As it was before anybody began, apart from the volume and its key file."""
    assert machine.mounts == {}
    assert machine.mappings == {}
    assert machine.active
    assert_data_is_whole(machine)
    assert machine.node(OLD) is None
    directory = machine.tree[DATA.lstrip("/")]
    assert (directory.mode, directory.immutable) == (0o750, False)
    assert {path: machine.tree[path].content for path in TABLES} == TABLES
    assert not [path for path in machine.tree if path.endswith("sealwire-luks.conf")]
    assert machine.units == {}


def set_up_with(machine: Model) -> Model:
    """The machine after a whole set-up."""
    set_up(machine)
    return machine
