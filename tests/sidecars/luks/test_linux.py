"""The real machine: children without secrets around them, files whole, trees compared."""

import os
from pathlib import Path

import pytest

from sealwire.sidecars.errors import CommandFailed, LuksReason
from sealwire.sidecars.luks.machine import SECOND_SECRET, Machine, differences

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
    with pytest.raises(CommandFailed) as caught:
        MACHINE.run(["no-such-program"])
    assert caught.value.reason is LuksReason.COMMAND


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
