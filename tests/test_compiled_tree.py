"""When the compiled tree is made anew: with a program in place of pip that notes what it is asked."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import compiled_tree

NAMES = ["setup.py", "pyproject.toml"]
Asked = Callable[[], list[str]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What pip was asked to install, in order; it takes as long as the file `seconds` says."""
    notes = tmp_path / "asked"
    notes.touch()
    (tmp_path / "seconds").write_text("0")
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" | sed "s/.* //" >> {notes}\nsleep $(cat {tmp_path}/seconds)\n')
    pip.chmod(0o755)
    for name in ("TREE", "STAMP", "WHEELS", "WHEEL_STAMPS"):
        monkeypatch.setattr(compiled_tree, name, tmp_path / name.lower())
    monkeypatch.setattr(sys, "executable", str(pip))
    monkeypatch.setattr(compiled_tree, "core_of_tree", lambda: "compiled")
    monkeypatch.setattr(compiled_tree, "ROOMS", [])
    return lambda: notes.read_text().split()


def test_what_is_there_is_not_made_again_until_a_file_changes(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_tree.compile_core(NAMES)
    compiled_tree.compile_core(NAMES)
    assert asked() == ["."]
    monkeypatch.setenv("SEALWIRE_SHORT_SIV", "0")
    compiled_tree.compile_core(NAMES)
    assert asked() == [".", "."]


def test_a_wheel_of_the_same_files_is_taken_in_place_of_compiling(asked: Asked) -> None:
    compiled_tree.WHEELS.mkdir()
    wheel = compiled_tree.WHEELS / "sealwire.whl"
    wheel.write_bytes(b"a wheel")
    compiled_tree.stamp_wheel(compiled_tree.digest_of(["setup.py", "pyproject.toml"]), wheel)
    compiled_tree.compile_core(NAMES)
    assert asked() == [str(wheel)]


def test_what_is_built_is_known_by_its_tree_or_its_wheel(asked: Asked) -> None:
    digest = compiled_tree.core_digest(NAMES)
    assert not compiled_tree.is_built(digest)
    compiled_tree.compile_core(NAMES)
    assert compiled_tree.is_built(digest)
    compiled_tree.STAMP.unlink()
    compiled_tree.WHEELS.mkdir()
    (compiled_tree.WHEELS / "sealwire.whl").write_bytes(b"a wheel")
    compiled_tree.stamp_wheel(digest, compiled_tree.WHEELS / "sealwire.whl")
    assert compiled_tree.is_built(digest)
    assert asked() == ["."]


def test_a_compiler_that_fails_leaves_nothing_that_counts(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(subprocess.CalledProcessError):
        compiled_tree.compile_core(NAMES)
    assert not compiled_tree.STAMP.exists()
    assert asked() == []
