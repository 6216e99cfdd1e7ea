"""Setting up, going on after a power cut at any point, going back, finishing."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.errors import CannotCreate, CommandFailed, Denied, LuksReason, Unsound, Unusable
from sealwire.sidecars.luks.journal import Phase, journal_path
from sealwire.sidecars.luks.machine import SECOND_SECRET, Machine, Progress, TreeEntry, differences
from tests.sidecars.luks import story
from tests.sidecars.luks.model import Model, Node, PowerCut, Volume
from tests.support.reasons import raising


def setup_changes() -> int:
    machine = story.running_machine()
    story.set_up(machine)
    return machine.changes


SETUP_CHANGES = setup_changes()


def cut_setup_at(change: int, *, reboot: bool = True, erase: bool = False) -> Model:
    """A machine that lost its power in place of this change of a set-up, and booted again.

    Without the reboot it stands for Ctrl-C or an error: mounts, mappings and the service are as they were.
    """
    machine = story.running_machine()
    machine.cut_before = change
    with pytest.raises(PowerCut):
        story.set_up(machine, erase=erase)
    machine.cut_before = None
    if reboot:
        machine.boot()
    return machine


def test_a_set_up_ends_with_the_service_on_the_volume_and_the_plaintext_aside() -> None:
    machine = story.running_machine()
    story.set_up(machine)
    story.assert_encrypted(machine)
    assert set(machine.files(story.OLD)) == {"WiredTiger", "collection-1.wt", "journal"}


@pytest.mark.parametrize("directory", ["/srv/clinic-7/mongo_data", "/data"])
def test_another_directory_moves_there_and_back(monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    monkeypatch.setattr(story, "DATA", directory)
    monkeypatch.setattr(story, "OLD", f"{directory}.plain")
    machine = story.running_machine()
    story.set_up(machine, replace(story.SETTINGS, data_directory=Path(directory)))
    machine.boot()
    story.assert_encrypted(machine)
    story.roll_back(machine)
    story.assert_plaintext(machine)


def test_it_survives_a_reboot_with_the_key_and_the_service_stays_down_without() -> None:
    machine = story.running_machine()
    story.set_up(machine)
    machine.boot()
    story.assert_encrypted(machine)
    key = machine.tree.pop(str(story.KEY_FILE).lstrip("/"))
    machine.boot()
    assert not machine.active
    assert machine.mounts == {}
    machine.tree[str(story.KEY_FILE).lstrip("/")] = key
    machine.boot()
    story.assert_encrypted(machine)


@pytest.mark.parametrize("change", range(1, SETUP_CHANGES + 1))
def test_a_power_cut_anywhere_is_resumed_to_the_right_end(change: int) -> None:
    machine = cut_setup_at(change)
    story.set_up(machine)
    story.assert_encrypted(machine)


@pytest.mark.parametrize("change", range(1, SETUP_CHANGES + 1))
@pytest.mark.parametrize("reboot", [True, False])
def test_a_power_cut_or_an_error_anywhere_is_rolled_back(change: int, *, reboot: bool) -> None:
    machine = cut_setup_at(change, reboot=reboot)
    # Cut off before the journal was written, nothing was changed and nothing is to be undone.
    if machine.read(journal_path("mongodb")) is not None:
        story.roll_back(machine)
    story.assert_plaintext(machine)


@pytest.mark.parametrize("change", range(1, SETUP_CHANGES + 1))
@pytest.mark.parametrize("impatient", [False, True])
def test_an_error_anywhere_without_a_reboot_is_resumed_as_well(change: int, *, impatient: bool) -> None:
    machine = cut_setup_at(change, reboot=False)
    if impatient:
        machine.run(["systemctl", "start", "mongod.service"])
    story.set_up(machine)
    story.assert_encrypted(machine)


@given(st.integers(1, SETUP_CHANGES), st.integers(1, SETUP_CHANGES))
def test_no_write_is_lost_when_somebody_starts_the_service_while_it_is_resumed(cut: int, later: int) -> None:
    machine = cut_setup_at(cut, reboot=False)
    machine.meddle_before = cut + later
    story.set_up(machine)
    story.assert_encrypted(machine)


@pytest.mark.parametrize("change", range(1, SETUP_CHANGES + 1))
def test_no_write_is_lost_when_somebody_starts_the_service_at_any_moment(change: int) -> None:
    machine = story.running_machine()
    machine.meddle_before = change
    story.set_up(machine)
    story.assert_encrypted(machine)


def changes_without_key_file() -> int:
    machine = story.running_machine()
    story.set_up(machine, story.WITHOUT_KEY_FILE)
    return machine.changes


@pytest.mark.parametrize("change", range(1, changes_without_key_file() + 1))
@pytest.mark.parametrize("back", [False, True])
def test_a_volume_that_opens_by_passphrase_only_comes_to_the_right_end(change: int, *, back: bool) -> None:
    machine = story.running_machine()
    machine.cut_before = change
    with pytest.raises(PowerCut):
        story.set_up(machine, story.WITHOUT_KEY_FILE)
    machine.boot()  # which asks for the passphrase, and nobody is there
    if not back:
        story.set_up(machine, story.WITHOUT_KEY_FILE)
        story.assert_encrypted(machine)
    elif machine.read(journal_path("mongodb")) is not None:
        story.roll_back(machine)
        story.assert_plaintext(machine)


def complete_machine() -> Model:
    machine = story.running_machine()
    story.set_up(machine)
    machine.boot()  # the service writes something that only the volume has
    machine.changes = 0
    return machine


def rollback_changes() -> int:
    machine = complete_machine()
    story.roll_back(machine)
    return machine.changes


@pytest.mark.parametrize("change", range(1, rollback_changes() + 1))
@pytest.mark.parametrize("reboot", [True, False])
def test_a_rollback_cut_off_anywhere_ends_with_the_newest_data_when_run_again(
    change: int, *, reboot: bool
) -> None:
    machine = complete_machine()
    machine.cut_before = change
    with pytest.raises(PowerCut):
        story.roll_back(machine)
    if reboot:
        machine.boot()
    machine.cut_before = None
    story.roll_back(machine)
    story.assert_plaintext(machine)
    machine.boot()
    story.assert_plaintext(machine)


@pytest.mark.parametrize("change", range(1, rollback_changes() + 1))
def test_no_write_is_lost_when_somebody_starts_the_service_during_a_rollback(change: int) -> None:
    machine = complete_machine()
    machine.meddle_before = change
    story.roll_back(machine)
    story.assert_plaintext(machine)


def finish_changes() -> int:
    machine = complete_machine()
    story.finish(machine)
    return machine.changes


@pytest.mark.parametrize("change", range(1, finish_changes() + 1))
@pytest.mark.parametrize("then", ["finish", "roll back"])
def test_wiping_cut_off_anywhere_is_finished_or_rolled_back_from_the_volume(change: int, then: str) -> None:
    machine = complete_machine()
    machine.cut_before = change
    with pytest.raises(PowerCut):
        story.finish(machine)
    machine.boot()
    if then == "finish":
        story.finish(machine)
        assert machine.node(story.OLD) is None
        story.assert_encrypted(machine, Phase.FINISHED)
    else:
        story.roll_back(machine)
        story.assert_plaintext(machine)


def test_after_finishing_a_rollback_still_brings_everything_home() -> None:
    machine = complete_machine()
    story.finish(machine)
    story.roll_back(machine)
    story.assert_plaintext(machine)


def test_nothing_is_wiped_while_the_directory_is_not_on_the_volume() -> None:
    machine = complete_machine()
    machine.mounts.clear()
    with raising(Unsound, LuksReason.NOT_ENCRYPTED):
        story.finish(machine)
    assert set(machine.files(story.OLD)) == {"WiredTiger", "collection-1.wt", "journal"}


def test_nothing_is_wiped_before_the_service_works_on_the_volume() -> None:
    machine = complete_machine()
    machine.active = False
    with raising(Unsound, LuksReason.SERVICE_DOWN):
        story.finish(machine)
    assert machine.node(story.OLD) is not None


def test_a_rollback_that_was_begun_is_not_turned_into_a_set_up() -> None:
    machine = complete_machine()
    machine.cut_before = 5
    with pytest.raises(PowerCut):
        story.roll_back(machine)
    machine.boot()
    with raising(Unusable, LuksReason.JOURNAL_PHASE):
        story.set_up(machine)


class FailingDisk(Model):
    """Reads one file wrongly from the volume."""

    def manifest(self, root: Path, progress: Progress) -> dict[str, TreeEntry]:
        found = Model.manifest(self, root, progress)
        return found if str(root) == story.DATA else {**found, "WiredTiger": found["journal"]}


def test_a_copy_that_differs_stops_before_anything_is_switched() -> None:
    machine = story.running_machine(FailingDisk)
    with raising(Unsound, LuksReason.COPY_DIFFERS):
        story.set_up(machine)
    assert machine.node(story.OLD) is None
    story.roll_back(machine)
    story.assert_plaintext(machine)


def test_a_volume_that_may_hold_the_newest_data_is_never_formatted_again() -> None:
    """As when its header is damaged, or another disk has its name, while a set-up is resumed."""
    machine = cut_setup_at(SETUP_CHANGES - 1)
    machine.volumes["/dev/sdb"].uuid = "another"
    with raising(CannotCreate, LuksReason.DEVICE_NOT_LUKS):
        story.set_up(machine)
    assert sum("luksFormat" in command for command in machine.commands) == 1


@pytest.mark.parametrize("change", range(1, SETUP_CHANGES + 1))
@pytest.mark.parametrize("erase", [False, True])
def test_another_disk_that_took_the_name_after_a_boot_is_not_formatted(change: int, *, erase: bool) -> None:
    machine = cut_setup_at(change, erase=erase)
    machine.volumes["/dev/sdb"] = Volume("another", {0: b"another"}, {"": Node(None, 0o755)})
    with pytest.raises(CannotCreate):
        story.set_up(machine)
    assert machine.volumes["/dev/sdb"].slots == {0: b"another"}


def test_a_directory_that_appears_where_the_old_data_is_to_go_is_left_alone() -> None:
    machine = cut_setup_at(20)
    machine.tree["var/lib/mongodb.plain"] = Node(None, 0o755)
    with raising(CannotCreate, LuksReason.DATA_DIRECTORY):
        story.set_up(machine)
    assert not machine.tree["var/lib/mongodb"].immutable
    machine.remove_directory(Path(story.OLD))
    story.set_up(machine)
    story.assert_encrypted(machine)


def lost_volume() -> Model:
    """Complete, in use, and then no key opens it any more."""
    machine = complete_machine()
    machine.volumes["/dev/sdb"].slots = {0: b"lost"}
    machine.boot()
    return machine


def test_a_volume_that_does_not_open_is_rolled_back_only_by_giving_it_up() -> None:
    machine = lost_volume()
    with pytest.raises(Denied):
        story.roll_back(machine)
    assert not machine.active
    story.roll_back(machine, abandon_volume=True)
    files = machine.files(story.DATA)
    assert (files["WiredTiger"], files["collection-1.wt"]) == (b"tiger", b"patients")
    assert machine.active
    assert machine.mounts == {}
    assert machine.node(story.OLD) is None


def test_a_volume_with_the_only_data_is_not_given_up() -> None:
    machine = complete_machine()
    story.finish(machine)
    machine.boot()
    with raising(Unusable, LuksReason.JOURNAL_PHASE):
        story.roll_back(machine, abandon_volume=True)
    story.assert_encrypted(machine, Phase.FINISHED)


def test_no_secret_is_ever_an_argument() -> None:
    machine = story.running_machine()
    story.set_up(machine)
    story.roll_back(machine)
    said = "\n".join(machine.commands)
    assert "luksFormat" in said
    assert story.PASSPHRASE.decode() not in said
    key = machine.node(story.KEY_FILE)
    assert key is not None
    assert (key.mode, len(key.content or b"")) == (0o400, 64)
    assert repr(key.content)[2:-1] not in said


# The real machine: children without secrets around them, files whole, trees compared.


MACHINE = Machine()


def ignore(_: int) -> None:
    """Progress that nobody looks at."""


def test_a_child_gets_its_secret_on_standard_input_and_nothing_in_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEALWIRE_PASSPHRASE", "from the environment")
    assert MACHINE.run(["cat"], secret=b"hidden").out == b"hidden"
    shown = MACHINE.run(["env"]).text
    assert "PATH=" in shown
    assert "SEALWIRE" not in shown


def test_a_second_secret_comes_through_a_pipe_that_is_named_in_the_arguments() -> None:
    done = MACHINE.run(["cat", "-", SECOND_SECRET], secret=b"first ", second_secret=b"second")
    assert done.out == b"first second"
    assert b"second" not in MACHINE.run(["echo", SECOND_SECRET], second_secret=b"second").out


def test_what_a_program_said_is_not_in_a_repr() -> None:
    assert "hidden" not in repr(MACHINE.run(["cat"], secret=b"hidden"))


def test_lines_are_handed_over_also_when_a_display_only_returns_the_carriage() -> None:
    lines: list[str] = []
    done = MACHINE.run(["sh", "-c", r"printf 'a\rb\nc\n'; echo wrong >&2; exit 3"], on_line=lines.append)
    assert lines == ["a", "b", "c"]
    assert (done.code, done.err) == (3, b"wrong\n")


def test_a_program_that_complains_much_does_not_block() -> None:
    done = MACHINE.run(["sh", "-c", "seq 100000 >&2; seq 100000"], on_line=lambda _: None)
    assert done.code == 0
    assert done.err.endswith(b"100000\n")
    assert len(done.err) <= 65536


def test_a_program_that_is_not_there() -> None:
    assert not MACHINE.has_program("no-such-program")
    assert MACHINE.has_program("sh")
    assert MACHINE.has_program("/bin/sh")
    with raising(CommandFailed, LuksReason.COMMAND):
        MACHINE.run(["no-such-program"])


def test_files_are_written_whole_with_their_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    MACHINE.write(path, b"one", 0o644)
    MACHINE.write(path, b"two", 0o400)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o400)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert MACHINE.read(path) == b"two"
    assert MACHINE.read(tmp_path / "missing") is None
    assert MACHINE.read(path / "below") is None
    with pytest.raises(CommandFailed):
        MACHINE.read(path, max_bytes=2)


def test_directories_files_and_names(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    MACHINE.make_directory(deep, 0o700)
    MACHINE.make_directory(deep, 0o755)
    status = MACHINE.status(deep)
    assert status is not None
    assert (status.is_directory, status.mode) == (True, 0o700)
    assert MACHINE.names_in(tmp_path) == ("a",)
    assert MACHINE.names_in(tmp_path / "missing") == ()
    MACHINE.rename(deep, tmp_path / "c")
    MACHINE.remove_directory(tmp_path / "c")
    MACHINE.remove_directory(tmp_path / "c")
    MACHINE.remove(tmp_path / "missing")
    assert MACHINE.status(tmp_path / "c") is None
    (tmp_path / "a" / "x").touch()
    with pytest.raises(CommandFailed):
        MACHINE.remove_directory(tmp_path / "a")
    with pytest.raises(CommandFailed):
        MACHINE.rename(tmp_path / "missing", tmp_path / "d")


def test_an_image_has_its_blocks_and_is_kept_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "image"
    MACHINE.create_image(path, 1 << 20)
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_blocks * 512 >= 1 << 20
    path.write_bytes(b"x" * (1 << 20))
    MACHINE.create_image(path, 1 << 20)
    assert path.read_bytes()[:1] == b"x"


def test_space_and_open_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 8192)
    assert MACHINE.free_bytes(tmp_path) > 0
    assert MACHINE.used_bytes(tmp_path) >= 8192
    with (tmp_path / "file").open("rb") as file:
        found = {opened.path: opened.device for opened in MACHINE.open_files(os.getpid())}
        device = os.fstat(file.fileno()).st_dev
    assert found[str(tmp_path / "file")] == f"{os.major(device)}:{os.minor(device)}"
    assert str(Path.cwd()) in found


def tree(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "lost+found").mkdir()
    (root / "a").write_bytes(b"content")
    (root / "sub" / "b").write_bytes(b"other")
    (root / "link").symlink_to("a")
    os.mkfifo(root / "pipe")
    return root


def test_two_trees_are_the_same_or_their_differences_are_named(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "1"), tree(tmp_path / "2")
    read: list[int] = []
    assert differences(MACHINE.manifest(one, read.append), MACHINE.manifest(two, ignore)) == []
    assert sum(read) == len(b"content") + len(b"other")
    assert "lost+found" not in MACHINE.manifest(one, ignore)
    (two / "a").write_bytes(b"Content")
    (two / "sub" / "b").chmod(0o600)
    (two / "link").unlink()
    (two / "link").symlink_to("b")
    (two / "more").touch()
    two.chmod(0o700)
    assert differences(MACHINE.manifest(one, ignore), MACHINE.manifest(two, ignore)) == [
        ".",
        "a",
        "link",
        "more",
        "sub/b",
    ]
