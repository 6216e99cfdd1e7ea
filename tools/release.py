"""Make build/release: all that publishing this version needs.

    python -m tools.release             # compiled wheels too, one for each CPython that is found
    python -m tools.release --plain     # without them, in one to two minutes

It holds the source archive, the wheels, the bill of materials, the locks, notes from the changelog, a
provenance statement (in-toto, SLSA 1) and SHA256SUMS. The source archive is built from the commit, and the
plain wheel from the source archive. All are built twice, in two folders: other bytes end the run.

Nothing is signed and nothing is uploaded: that is for the one who publishes.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import wheels
from tools.compiled_tree import ROOT
from tools.sbom import deploy_python, write_sbom

RELEASE = ROOT / "build" / "release"
LOCKS = ("requirements/runtime.txt", "requirements/build.txt")
FAILED = 1
_BUILDS = {"one": "UTC", "another/path": "Asia/Kathmandu"}
"""Folders and time zones of the two builds."""


class ReleaseError(Exception):
    """What must not be published, and why."""


def main() -> int:
    """Exit status 1 if the release must not be published."""
    parser = argparse.ArgumentParser(description="Make build/release.")
    parser.add_argument("--plain", action="store_true", help="without compiled wheels")
    arguments = parser.parse_args()
    try:
        commit, epoch = committed()
        shutil.rmtree(RELEASE, ignore_errors=True)
        RELEASE.mkdir(parents=True)
        built = build_plain(RELEASE, epoch)
        if not arguments.plain:
            built += build_compiled(RELEASE)
        check_artefacts(built)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        write_rest(project["version"], commit)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        print(f"release: error: {error}", file=sys.stderr)
        return FAILED
    for file in sorted(RELEASE.iterdir()):
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size:,} bytes")
    return 0


def committed() -> tuple[str, int]:
    """The commit, and its time in seconds since 1970. Raises:  ReleaseError if files differ from it"""
    if changed := _git("status", "--porcelain"):
        raise ReleaseError(f"{len(changed.splitlines())} files differ from the commit; commit them first")
    return _git("rev-parse", "HEAD"), int(_git("log", "-1", "--format=%ct"))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def build_plain(into: Path, epoch: int) -> list[Path]:
    """The source archive and the plain wheel. Cost: 40 s of processor time.

    Raises:  ReleaseError if a second build on another path gives other bytes
    """
    with tempfile.TemporaryDirectory() as work:
        builds = [_build(Path(work, path), epoch, zone) for path, zone in _BUILDS.items()]
        return _compared(builds[0], builds[1], into)


def build_compiled(into: Path) -> list[Path]:
    """The wheels of `make wheels`, for each CPython that is found here. Cost: four minutes for each.

    Raises:  ReleaseError if a second build on another path gives other bytes; CalledProcessError
    """
    found, names = wheels.interpreters(f"python{version}" for version in wheels.ALL), wheels.context()
    if not found:
        raise ReleaseError("no CPython with its headers was found; --plain leaves compiled wheels out")
    made = wheels.wheels_for(found)
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(wheels.JOBS) as pool:

        def again(python: wheels.Interpreter) -> Path:
            folder = Path(work, "another", "path", python.tag)
            return wheels.repaired(wheels.compile_wheel(python, names, folder), Path(work))

        return _compared(made, list(pool.map(again, found)), into)


def _compared(ones: list[Path], others: list[Path], into: Path) -> list[Path]:
    """Copies of the ones. Raises:  ReleaseError if one has other bytes than the other"""
    for one, other in zip(ones, others, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise ReleaseError(f"two builds of {one.name} differ")
    return [Path(shutil.copy2(each, into)) for each in ones]


def _build(folder: Path, epoch: int, zone: str) -> list[Path]:
    """The source archive of the tracked files, and the wheel of what is in the archive."""
    source, out = folder / "source", folder / "out"
    fixed = {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "TZ": zone}
    wheels.copy_sources(wheels.context(), source)
    _run_build("--sdist", source, out, fixed)
    (archive,) = out.glob("*.tar.gz")
    normalise(archive, epoch)
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheels.set_modes(unpacked)
    _run_build("--wheel", unpacked, out, fixed)
    (wheel,) = out.glob("*.whl")
    return [archive, wheel]


def _run_build(what: str, source: Path, out: Path, fixed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", what, "--outdir", str(out), str(source)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWIRE_")}
    environment |= fixed | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(command[2:5])}: {done.stderr.strip()[-500:]}")


def normalise(archive: Path, epoch: int) -> None:
    """Pack a source archive again: sorted, nobody's files, all of one time. setuptools uses today's."""
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            same = member.replace(mtime=epoch, uid=0, gid=0, uname="", gname="")
            same.pax_headers = {}
            new.addfile(same, old.extractfile(member) if member.isfile() else None)
    with archive.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=epoch) as zipped:
        zipped.write(packed.getvalue())


def check_artefacts(artefacts: list[Path]) -> None:
    """Whether an index would take them: twine asks about metadata and description. Raises:  ReleaseError"""
    command = [str(deploy_python()), "-m", "twine", "check", "--strict", *map(str, artefacts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"twine check: {(done.stdout + done.stderr).strip()}")
    for name in (each.name for each in artefacts):
        if re.search(r"-linux_\w+\.whl$", name):
            raise ReleaseError(f"{name}: an index takes manylinux wheels only")


def write_rest(version: str, commit: str) -> None:
    """What belongs to the wheels: bill of materials, locks, notes, provenance, checksums."""
    write_sbom(RELEASE / f"sealwire-{version}.cdx.json")
    shutil.copy2(ROOT / LOCKS[0], RELEASE)
    text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    (RELEASE / f"sealwire-{version}.notes.md").write_text(text, encoding="utf-8")
    statement = provenance(sorted(RELEASE.iterdir()), version, commit)
    provenance_file = RELEASE / f"sealwire-{version}.intoto.json"
    provenance_file.write_text(json.dumps(statement, indent=1) + "\n", encoding="utf-8")
    sums = [f"{sha256(file)}  {file.name}\n" for file in sorted(RELEASE.iterdir())]
    (RELEASE / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def notes(changelog: str, version: str) -> str:
    """The changelog's section of this version. Raises:  ReleaseError if there is none"""
    for section in re.split(r"^## ", changelog, flags=re.M)[1:]:
        heading, _, text = section.partition("\n")
        if heading.split()[0] == version:
            if "unreleased" in heading:
                print(f"release: warning: CHANGELOG.md calls {version} unreleased", file=sys.stderr)
            return f"# Sealwire {version}\n\n{text.strip()}\n"
    raise ReleaseError(f"CHANGELOG.md has no section for {version}")


def provenance(files: Iterable[Path], version: str, commit: str) -> dict[str, object]:
    """An in-toto statement with SLSA's predicate: these files come from this commit and these locks.

    It has no time and no machine, so that the same commit gives the same statement.
    """
    sources: list[dict[str, object]] = [{"name": "source", "digest": {"gitCommit": commit}}]
    sources += [{"name": name, "digest": {"sha256": sha256(ROOT / name)}} for name in LOCKS]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": sha256(file)}} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:sealwire:make-release:1",
                "externalParameters": {"version": version},
                "internalParameters": {"python": sys.version.split()[0]},
                "resolvedDependencies": sources,
            },
            "runDetails": {"builder": {"id": "urn:sealwire:tools.release"}},
        },
    }


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
