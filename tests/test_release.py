"""`make release`: the same bytes from two builds, and what must not be published ends the run."""

import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools import release, wheels
from tools.release import ReleaseError

EPOCH = 1_700_000_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    release.build_plain(folder, EPOCH)
    return folder


@pytest.mark.slow(minutes=2)
def test_two_builds_give_the_same_bytes_and_an_index_would_take_them(plain: Path) -> None:
    archive, wheel = sorted(plain.glob("*.tar.gz")) + sorted(plain.glob("*.whl"))
    assert wheel.name.endswith("-py3-none-any.whl")
    release.check_artefacts([archive, wheel])
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(EPOCH, 0, "")}
    assert {member.mode for member in members} <= {0o644, 0o755}


@pytest.mark.slow(minutes=2)
def test_every_file_has_its_checksum_and_its_provenance(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "RELEASE", plain)
    version = next(plain.glob("*.whl")).name.split("-")[1]
    release.write_rest(version, COMMIT)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=plain, check=True)
    names = {file.name for file in plain.iterdir()}
    assert {f"sealwire-{version}.{kind}" for kind in ("cdx.json", "notes.md", "tar.gz")} < names
    assert "runtime.txt" in names
    summed = {line.split()[1] for line in (plain / "SHA256SUMS").read_text(encoding="utf-8").splitlines()}
    assert summed == names - {"SHA256SUMS"}
    statement = json.loads((plain / f"sealwire-{version}.intoto.json").read_text(encoding="utf-8"))
    assert {each["name"] for each in statement["subject"]} == summed - {f"sealwire-{version}.intoto.json"}


def test_a_second_build_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path, _epoch: int, zone: str) -> list[Path]:
        folder.mkdir(parents=True)
        (folder / "a.whl").write_text(zone, encoding="utf-8")
        return [folder / "a.whl"]

    monkeypatch.setattr(release, "_build", build)
    with pytest.raises(ReleaseError):
        release.build_plain(tmp_path, EPOCH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("again", ["the same", "another"])
def test_a_compiled_wheel_is_compared_with_one_from_another_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    python = wheels.Interpreter(Path("python3.13"), "3.13.5")
    made, into = tmp_path / "wheels", tmp_path / "release"
    for folder in (made, into):
        folder.mkdir()
    (made / "a.whl").write_text("the same", encoding="utf-8")

    def repaired(wheel: Path, into: Path) -> Path:
        assert made not in wheel.parents
        (into / "a.whl").write_text(again, encoding="utf-8")
        return into / "a.whl"

    monkeypatch.setattr(wheels, "wheels_for", lambda _: [made / "a.whl"])
    monkeypatch.setattr(wheels, "interpreters", lambda _: [python])
    monkeypatch.setattr(wheels, "compile_wheel", lambda _python, _names, work: work)
    monkeypatch.setattr(wheels, "repaired", repaired)
    if again == "the same":
        assert release.build_compiled(into) == [into / "a.whl"]
    else:
        with pytest.raises(ReleaseError):
            release.build_compiled(into)
        assert list(into.iterdir()) == []


def archive_of(file: Path, mtime: int, names: list[str]) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.mtime, member.uname = mtime, "somebody"
            archive.addfile(member)


def test_a_source_archive_has_no_time_user_or_order_of_its_build(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    archive_of(one, 1, ["a", "b"])
    archive_of(other, 2, ["b", "a"])
    for file in (one, other):
        release.normalise(file, EPOCH)
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        assert archive.getnames() == ["a", "b"]


def test_modes_are_those_of_any_umask(tmp_path: Path) -> None:
    for name, mode in (("private", 0o600), ("open", 0o666), ("program", 0o700)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    wheels.set_modes(tmp_path)
    found = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert found == {"private": 0o644, "open": 0o644, "program": 0o755}


def wheel_of(file: Path, *, version: str = "1.2", description: str = "# One\n") -> Path:
    name = f"one-{version}.dist-info"
    head = (
        f"Metadata-Version: 2.1\nName: one\nVersion: {version}\nDescription-Content-Type: text/markdown\n\n"
    )
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}/METADATA", head + description)
        wheel.writestr(f"{name}/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr(f"{name}/RECORD", "")
    return file


@pytest.mark.slow
def test_what_an_index_would_refuse_is_refused(tmp_path: Path) -> None:
    release.check_artefacts([wheel_of(tmp_path / "one-1.2-py3-none-any.whl")])
    for wrong in (
        wheel_of(tmp_path / "one-1.2-cp313-cp313-linux_x86_64.whl"),
        wheel_of(tmp_path / "one-1.2-1-py3-none-any.whl", version="no version"),
        wheel_of(tmp_path / "one-1.2-2-py3-none-any.whl", description=""),
    ):
        with pytest.raises(ReleaseError):
            release.check_artefacts([wrong])


def test_files_that_differ_from_the_commit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"status": "", "rev-parse": COMMIT, "log": str(EPOCH)}
    monkeypatch.setattr(release, "_git", lambda *arguments: answers[arguments[0]])
    assert release.committed() == (COMMIT, EPOCH)
    answers["status"] = " M setup.py"
    with pytest.raises(ReleaseError):
        release.committed()


def test_the_notes_are_the_changelog_s_section_of_the_version() -> None:
    changelog = "# Changelog\n\n## 1.2.1\n\n- new\n\n## 1.2 (of May)\n\n### Added\n\n- old\n\n## 1.1\n\n- x\n"
    assert release.notes(changelog, "1.2") == "# Sealwire 1.2\n\n### Added\n\n- old\n"
    with pytest.raises(ReleaseError):
        release.notes(changelog, "1.3")


def test_the_statement_names_files_commit_and_locks(tmp_path: Path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"a")
    statement = json.loads(json.dumps(release.provenance([file], "1.2", COMMIT)))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "a.whl", "digest": {"sha256": release.sha256(file)}}]
    source, *locks = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert [lock["name"] for lock in locks] == list(release.LOCKS)
