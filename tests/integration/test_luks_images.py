"""The real cryptsetup, lsblk, wipefs and rsync on file images: what can be tried without device-mapper."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import LocalKek
from sealwire.sidecars import luks
from sealwire.sidecars.errors import CannotCreate, CommandFailed, Denied, LuksReason, Unsound
from sealwire.sidecars.luks import headers, machine, preflight, steps, volume
from sealwire.sidecars.luks.machine import Machine, differences, mounted_source
from sealwire.sidecars.luks.settings import Pbkdf
from tests.build_context import ROOT
from tests.sidecars.luks.story import Silent
from tests.support import warm
from tests.support.debian import require_programs
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.reasons import raising

pytestmark = pytest.mark.integration

MACHINE = Machine()
FAST = Pbkdf(32, 4, 1)
PASSPHRASE, OTHER = b"correct horse battery staple", b"six wooden barrels under the moor"
KEK = LocalKek(bytes(range(32)))


PACKAGES = {
    "cryptsetup": "cryptsetup-bin",
    "rsync": "rsync",
    "wipefs": "util-linux",
    "findmnt": "util-linux",
    "lsblk": "util-linux",
    "mke2fs": "e2fsprogs",
}


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    require_programs(PACKAGES)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "volume.img"
    MACHINE.create_image(path, 32 << 20)
    volume.format_device(MACHINE, path, str(uuid.uuid4()), PASSPHRASE, FAST)
    return path


def test_a_volume_is_what_the_directive_asks_for(image: Path) -> None:
    header = volume.read_header(MACHINE, image)
    assert header is not None
    assert (header.cipher, header.key_bits) == ("aes-xts-plain64", 512)
    assert (header.key_slots, header.key_derivations) == ((0,), ("argon2id",))
    assert machine.signatures(MACHINE, image) == ("crypto_LUKS",)


def test_the_uuid_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    path, chosen = tmp_path / "i", str(uuid.uuid4())
    MACHINE.create_image(path, 32 << 20)
    assert volume.read_header(MACHINE, path) is None
    volume.format_device(MACHINE, path, chosen, PASSPHRASE, FAST)
    header = volume.read_header(MACHINE, path)
    assert header is not None
    assert header.uuid == chosen


def test_a_key_is_added_by_passphrase_and_by_file_and_only_with_a_present_one(
    image: Path, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    MACHINE.write(key_file, os.urandom(64), 0o400)
    assert volume.add_proved_key(MACHINE, image, PASSPHRASE, key_file, FAST) == 2
    assert volume.add_proved_key(MACHINE, image, key_file, OTHER, FAST) == 3
    for secret in (PASSPHRASE, key_file, OTHER):
        assert volume.opens(MACHINE, image, secret)
    with pytest.raises(Denied):
        volume.add_proved_key(MACHINE, image, b"wrong", b"new", FAST)
    assert not volume.opens(MACHINE, image, b"wrong")


def test_secrets_are_bytes_a_line_end_is_not_a_part_of_them(image: Path) -> None:
    assert not volume.opens(MACHINE, image, PASSPHRASE + b"\n")
    assert volume.add_proved_key(MACHINE, image, PASSPHRASE, b"\x00binary\n", FAST) == 2
    assert volume.opens(MACHINE, image, b"\x00binary\n")


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1 << 20))
    with raising(CannotCreate, LuksReason.DEVICE_NOT_LUKS):
        volume.add_proved_key(MACHINE, tmp_path / "x", PASSPHRASE, OTHER, FAST)
    with pytest.raises(CommandFailed) as failed:
        volume.format_device(MACHINE, tmp_path / "x", "u", PASSPHRASE, FAST)
    assert PASSPHRASE.decode() not in str(failed.value)


def test_a_header_is_saved_sealed_and_brings_wiped_key_slots_back(image: Path, tmp_path: Path) -> None:
    sealed = tmp_path / "header"
    headers.back_up(MACHINE, image, sealed, KEK)
    content = sealed.read_bytes()
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert b"LUKS\xba\xbe" not in content
    assert b"keyslots" not in content
    with image.open("r+b") as file:
        file.seek(32 << 10)
        file.write(bytes((16 << 20) - (32 << 10)))
    assert not volume.opens(MACHINE, image, PASSPHRASE)
    found = headers.open_backup(MACHINE, image, sealed, KEK)
    headers.restore(MACHINE, image, found)
    assert volume.opens(MACHINE, image, PASSPHRASE)
    assert not list(Path("/run/sealwire-luks").glob("header-*"))


def test_a_header_that_is_gone_altogether_comes_back(image: Path, tmp_path: Path) -> None:
    headers.back_up(MACHINE, image, tmp_path / "header", KEK)
    with image.open("r+b") as file:
        file.write(bytes(16 << 20))
    found = headers.open_backup(MACHINE, image, tmp_path / "header", KEK)
    assert found.replaced is None
    headers.restore(MACHINE, image, found)
    assert volume.opens(MACHINE, image, PASSPHRASE)


def test_the_header_of_another_volume_is_refused(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    MACHINE.create_image(other, 32 << 20)
    volume.format_device(MACHINE, other, str(uuid.uuid4()), OTHER, FAST)
    headers.back_up(MACHINE, other, tmp_path / "header", KEK)
    with raising(Unsound, LuksReason.HEADER_OTHER):
        headers.open_backup(MACHINE, image, tmp_path / "header", KEK)
    assert volume.opens(MACHINE, image, PASSPHRASE)


def test_a_sealed_file_with_no_header_inside_is_refused(image: Path, tmp_path: Path) -> None:
    header = volume.read_header(MACHINE, image)
    assert header is not None
    sealed = headers.seal(bytes(1 << 20), header.uuid, "2026-01-31T12:00:00Z", KEK)
    MACHINE.write(tmp_path / "header", sealed, 0o600)
    with raising(Unsound, LuksReason.HEADER_FILE):
        headers.open_backup(MACHINE, image, tmp_path / "header", KEK)


def test_file_systems_and_partition_tables_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    MACHINE.create_image(path, 8 << 20)
    assert machine.signatures(MACHINE, path) == ()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True)
    assert machine.signatures(MACHINE, path) == ("ext4",)


@pytest.mark.parametrize("short", [0, 1 << 20])
def test_what_is_too_small_for_xfs_is_known_beforehand(tmp_path: Path, short: int) -> None:
    require_programs({"mkfs.xfs": "xfsprogs"})
    path = tmp_path / "volume"
    with path.open("wb") as file:
        file.truncate(preflight.SMALLEST_XFS_BYTES - short)
    done = MACHINE.run(["mkfs.xfs", "-q", "-f", "-K", str(path)])
    assert (done.code == 0) is (short == 0)


def test_what_findmnt_and_lsblk_say_here_is_understood() -> None:
    assert mounted_source(MACHINE, Path("/proc")) is not None
    assert mounted_source(MACHINE, Path("/etc")) is None
    for disk in machine.disks_below(MACHINE, Path("/")):
        assert disk.startswith("/dev/")
    assert machine.look_at(MACHINE, Path("/dev/null")) is None


def test_a_copy_is_the_same_in_everything_also_after_it_was_cut_off(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "journal").mkdir(parents=True)
    (source / "a.wt").write_bytes(os.urandom(3 << 20))
    os.link(source / "a.wt", source / "journal" / "same")
    (source / "journal" / "log").write_bytes(b"x")
    (source / "journal").chmod(0o2750)
    (source / "link").symlink_to("a.wt")
    target.mkdir()
    (target / "lost+found").mkdir()
    progress = Counting()
    steps.copy_tree(MACHINE, source, target, progress, again=False)
    steps.verify_tree(MACHINE, source, target, Silent())
    assert (target / "a.wt").stat().st_nlink == 2
    assert (target / "lost+found").is_dir()
    assert progress.total > 0
    # As a power cut leaves it: size and time are right, the bytes are not.
    times = (target / "a.wt").stat()
    (target / "a.wt").write_bytes(bytes(3 << 20))
    os.utime(target / "a.wt", ns=(times.st_atime_ns, times.st_mtime_ns))
    (target / "stray").touch()
    with raising(Unsound, LuksReason.COPY_DIFFERS):
        steps.verify_tree(MACHINE, source, target, Silent())
    steps.copy_tree(MACHINE, source, target, Silent(), again=True)
    assert (
        differences(MACHINE.manifest(source, progress.advance), MACHINE.manifest(target, progress.advance))
        == []
    )


class Counting(Silent):
    """Adds up what it is told."""

    total = 0

    def advance(self, count_bytes: int) -> None:
        self.total += count_bytes


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, secret: str = PASSPHRASE.decode()) -> subprocess.CompletedProcess[str]:
        private(tmp_path / "secret", secret)
        environment = os.environ | {"SEALWIRE_KEK": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
        return warm.run(
            [*warm.SEALWIRE, "luks", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_commands_on_an_image_from_a_shell(
    image: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    known = ["--passphrase-from", f"file:{tmp_path}/secret"]
    new = private(tmp_path / "new", OTHER.decode())
    costs = ["--pbkdf-memory", "32", "--pbkdf-iterations", "4", "--pbkdf-threads", "1"]
    add = ["add-key", str(image), *known, "--new-passphrase-from", f"file:{new}", *costs]
    assert command(*add, "--dry-run").returncode == 0
    assert len(slots(image)) == 1
    assert command(*add, secret="wrong").returncode == 77
    assert command(*add).returncode == 0
    assert len(slots(image)) == 2
    header = str(tmp_path / "header")
    dry = command("backup-header", str(image), "--to", header, "--dry-run", "--json")
    assert json.loads(dry.stdout)["key_slots"] == 2
    assert not Path(header).exists()
    assert command("backup-header", str(image), "--to", header).returncode == 0
    assert command("backup-header", str(image), "--to", header).returncode == 78
    restore = ["restore-header", str(image), "--from", header]
    assert command(*restore, "--dry-run").returncode == 0
    refused = command(*restore)
    assert refused.returncode == 77
    assert refused.stderr.count("\n") == 2
    assert command(*restore, "--confirm", str(image)).returncode == 0
    assert len(list(tmp_path.glob("header.replaced-*"))) == 1
    plain = tmp_path / "plain"
    assert command("unseal-header", "--from", header, "--to", str(plain), "--dry-run").returncode == 0
    assert not plain.exists()
    assert command("unseal-header", "--from", header, "--to", str(plain)).returncode == 0
    assert plain.read_bytes()[:6] == b"LUKS\xba\xbe"
    weak = command(*add, secret="wrong")
    assert PASSPHRASE.decode() not in weak.stderr + weak.stdout


def slots(image: Path) -> dict[str, object]:
    dump = subprocess.run(
        ["cryptsetup", "luksDump", "--dump-json-metadata", str(image)], check=True, capture_output=True
    )
    found = json.loads(dump.stdout)["keyslots"]
    assert isinstance(found, dict)
    return found


def test_recovery_script_knows_a_volume_without_python(image: Path, tmp_path: Path) -> None:
    script = Path(luks.__file__).with_name("recovery.sh")
    shell = shutil.which("dash") or "sh"

    def run(*arguments: str) -> int:
        return subprocess.run([shell, str(script), *arguments], capture_output=True, check=False).returncode

    assert run("look", str(image)) == 0
    assert run("look", str(tmp_path / "missing")) == 1
    (tmp_path / "plain").write_bytes(bytes(1 << 20))
    assert run("look", str(tmp_path / "plain")) == 1
    assert run("open", str(tmp_path / "plain"), str(tmp_path / "m")) == 1
    assert run() == 2
    assert run("open") == 2
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "f").write_bytes(b"data")
    assert run("copy", str(source), str(target)) == 0
    assert (target / "sub" / "f").read_bytes() == b"data"
    assert run("copy", str(source), str(target)) == 1


# The commands of docs/operations/luks.md that a machine without device-mapper can run.


def test_the_header_is_practised_as_the_page_says(tmp_path: Path) -> None:
    require_programs({"cryptsetup": "cryptsetup-bin", "wipefs": "util-linux"})
    shown = run_document(ROOT / "docs" / "operations" / "luks.md", tmp_path, "practice")
    assert "has the header of" in shown
    assert "opens with the present key" in shown
