"""`make release`: the same bytes from two builds, and what must not be published ends the run."""

import json
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tools import audit_dependencies as audit
from tools import lock, release, wheels
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


# The locks pin and hash everything, agree with each other, and go stale when pyproject.toml moves on.
#
# A vulnerable package fails their audit. A service that gives no answer is never taken for a pass.


def pins(name: str) -> dict[str, set[str]]:
    """Project -> the versions a lock pins (more than one where they differ by Python version)."""
    found: dict[str, set[str]] = {}
    for project, version in re.findall(
        r"^([\w.-]+)==([^\s;\\]+)", lock.lock_path(name).read_text(), re.MULTILINE
    ):
        found.setdefault(project, set()).add(version)
    return found


@pytest.fixture
def copied_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with pyproject.toml and the locks that tools.lock looks at instead of the repository."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "pyproject.toml").write_bytes((lock.ROOT / "pyproject.toml").read_bytes())
    for name in lock.LOCKS:
        (tmp_path / "requirements" / f"{name}.txt").write_bytes(lock.lock_path(name).read_bytes())
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    return tmp_path


def test_every_lock_is_in_step_with_the_project() -> None:
    assert lock.stale_locks() == []


@pytest.mark.parametrize("name", lock.LOCKS)
def test_every_pin_of_a_lock_has_a_hash_and_no_line_has_an_address(name: str) -> None:
    text = lock.lock_path(name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[\w.-]+==)", text)[1:]
    assert len(blocks) == sum(map(len, pins(name).values()))
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"^(-i|--index-url|--extra-index-url|--find-links)", text, re.MULTILINE)


def test_the_image_runs_the_versions_that_were_tested() -> None:
    tested = pins("dev")
    assert pins("runtime").items() <= pins("image").items() <= pins("image-full").items() <= tested.items()
    assert pins("build").items() <= tested.items()


def test_the_image_has_compression_and_traces_and_the_full_one_every_provider_of_keys() -> None:
    assert {"cramjam", "backports-zstd", "opentelemetry-sdk"} <= set(pins("image"))
    others = {"boto3", "azure-keyvault-keys", "google-auth", "python-pkcs11"}
    assert not others & set(pins("image"))
    assert others <= set(pins("image-full"))


@pytest.mark.parametrize(("before", "after", "stale"), [
    ('"click>=8.1,<9"', '"click>=8.2,<9"', list(lock.LOCKS)),
    ('\ndescription = "', '\ndescription = "x', []),
], ids=["a dependency", "a description"])  # fmt: skip
def test_a_changed_dependency_makes_every_lock_stale_and_a_description_none(
    copied_project: Path, before: str, after: str, stale: list[str]
) -> None:
    project = copied_project / "pyproject.toml"
    text = project.read_text()
    assert before in text
    project.write_text(text.replace(before, after))
    assert lock.stale_locks() == stale


def test_a_missing_lock_is_stale(copied_project: Path) -> None:
    (copied_project / "requirements" / "runtime.txt").unlink()
    assert lock.stale_locks() == ["runtime"]


CLEAN: dict[str, Any] = {"name": "click", "version": "8.1.8", "vulns": []}
SKIPPED: dict[str, Any] = {"name": "rich", "skip_reason": "not found"}
VULNERABLE: dict[str, Any] = {
    "name": "pyyaml",
    "version": "5.3",
    "vulns": [{"id": "PYSEC-2021-142", "fix_versions": ["5.4"]}],
}
FIRST = "click==8.1.8 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
LOCK = f"# comment\n{FIRST}    # via x\nrich==13.0 \\\n    --hash=sha256:cc\n"


@pytest.fixture
def short_lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK, encoding="utf-8")
    return path


def answer_with(monkeypatch: pytest.MonkeyPatch, *reports: dict[str, Any] | None) -> list[str]:
    """Let each call of pip-audit give the next report; returns the texts it was asked about."""
    asked: list[str] = []
    answers = iter(reports)

    def run(path: Path) -> dict[str, Any] | None:
        asked.append(path.read_text(encoding="utf-8"))
        return next(answers)

    monkeypatch.setattr(audit, "run_pip_audit", run)
    return asked


def test_the_first_requirement_comes_with_all_of_its_hashes() -> None:
    assert audit.first_requirement(LOCK) == FIRST


def test_a_finding_fails_the_audit(short_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, VULNERABLE]})
    lines, code = audit.verdict(audit.audit_lock(short_lock), require_answer=False)
    assert code == 1
    assert "pyyaml 5.3: PYSEC-2021-142" in lines[0]


def test_a_clean_answer_for_everything_passes(short_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, CLEAN]})
    lines, code = audit.verdict(audit.audit_lock(short_lock), require_answer=True)
    assert code == 0
    assert asked[1] == LOCK
    assert "could not be checked" not in "".join(lines)


@pytest.mark.parametrize("probe", [None, {"dependencies": [SKIPPED]}])
def test_no_service_is_said_and_fails_only_where_an_answer_is_required(
    probe: dict[str, Any] | None, short_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_with(monkeypatch, probe)
    result = audit.audit_lock(short_lock)
    assert len(asked) == 1
    lines, code = audit.verdict(result, require_answer=False)
    assert code == 0
    assert "could not be checked" in lines[0]
    assert audit.verdict(result, require_answer=True)[1] == 2


def test_a_finding_counts_even_where_other_packages_are_unknown() -> None:
    result = audit.read_report({"dependencies": [SKIPPED, VULNERABLE]})
    assert result.unchecked == ("rich",)
    lines, code = audit.verdict(result, require_answer=False)
    assert code == 1
    assert any("could not be checked" in line for line in lines)
