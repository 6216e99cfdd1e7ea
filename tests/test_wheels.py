"""`make wheels`: what it makes for which Python, and that installing it needs no compiler."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.build_context import ROOT
from tests.support.skips import skip_in_samples, skip_or_fail
from tests.test_release import pins
from tools import compiled_tree, wheels
from tools.compiled_tree import digest_of, missing_for_compiling
from tools.sbom import deploy_python, install, write_sbom


def test_the_interpreters_are_cpythons_that_answer_and_have_headers(tmp_path: Path) -> None:
    own = wheels.interpreter(sys.executable)
    assert own is None or own.tag == f"cp3{sys.version_info.minor}"
    assert wheels.interpreter("no-such-python") is None
    for name, answer in (("broken", "exit 1"), ("pypy", """echo '["PyPy", "3.11.9", true]'""")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
        assert wheels.interpreter(str(program)) is None
    program.write_text("""#!/bin/sh\necho '["CPython", "3.12.4", true]'\n""")
    found = wheels.interpreter(str(program))
    assert found is not None
    assert (found.version, found.tag) == ("3.12.4", "cp312")


def test_a_python_that_no_lock_is_valid_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minor = int(wheels.ALL[-1].partition(".")[2]) + 1
    for name in (f"python3.{minor - 1}", f"python3.{minor}"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert wheels.passed_over() == [f"python3.{minor}"]


def test_another_python_or_another_file_is_another_wheel() -> None:
    names = ["setup.py", "pyproject.toml"]
    digests = {digest_of(names, "3.11.9"), digest_of(names, "3.13.5"), digest_of(names[:1], "3.13.5")}
    assert len(digests) == 3


def test_a_wheel_is_known_by_what_it_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_tree, "WHEELS", tmp_path)
    monkeypatch.setattr(compiled_tree, "WHEEL_STAMPS", tmp_path)
    assert compiled_tree.built_wheel("one") is None
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"of one")
    compiled_tree.stamp_wheel("one", wheel)
    assert compiled_tree.built_wheel("one") == wheel
    assert compiled_tree.built_wheel("two") is None
    wheel.write_bytes(b"of two, by the same name")
    compiled_tree.stamp_wheel("two", wheel)
    assert compiled_tree.built_wheel("one") is None
    assert compiled_tree.built_wheel("two") == wheel
    wheel.unlink()
    assert compiled_tree.built_wheel("two") is None


def test_what_enters_a_wheel_is_what_the_image_sees() -> None:
    assert all(wheels.is_context(name) for name in ("setup.py", "README.md", "LICENSE", "wire/raw_bson.py"))
    assert not any(wheels.is_context(name) for name in ("tests/conftest.py", "docs/README.md", "Makefile"))


def test_without_a_compiler_one_line_says_so() -> None:
    command = [sys.executable, "-m", "tools.wheels"]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """That of this Python, built unless it is there."""
    if lacking := missing_for_compiling():
        skip_or_fail(lacking)
    subprocess.run([sys.executable, "-m", "tools.wheels", "--own"], cwd=ROOT, check=True)
    (found,) = compiled_tree.WHEELS.glob(f"*-cp3{sys.version_info.minor}-*.whl")
    return found


@pytest.mark.slow
def test_every_python_of_this_machine_has_its_wheel() -> None:
    skip_in_samples("compiling for each Python")
    if lacking := missing_for_compiling():
        skip_or_fail(lacking)
    subprocess.run([sys.executable, "-m", "tools.wheels"], cwd=ROOT, check=True)
    tags = {each.tag for each in wheels.interpreters(f"python{version}" for version in wheels.ALL)}
    assert {each.name.split("-")[2] for each in compiled_tree.WHEELS.glob("*.whl")} == tags
    assert len(tags) == len(wheels.SUMS.read_text(encoding="utf-8").splitlines()) - 1


@pytest.mark.slow
def test_the_checksums_are_those_of_the_wheels(wheel: Path) -> None:
    lines = wheels.SUMS.read_text(encoding="utf-8").splitlines()
    assert f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}" in lines
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", wheels.SUMS], cwd=compiled_tree.WHEELS, check=True
    )


@pytest.mark.slow
def test_the_wheel_runs_on_older_systems_than_this_one(wheel: Path) -> None:
    command = [str(deploy_python()), "-m", "auditwheel", "show", str(wheel)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tag = re.search(r"-(manylinux_\d+_\d+|manylinux2014|linux)_", wheel.name)
    assert tag is not None
    assert tag.group(1) == "linux" or tag.group(1) in shown
    with zipfile.ZipFile(wheel) as archive:
        assert not any(".libs/" in name for name in archive.namelist())  # it needs nothing but libc


@pytest.mark.slow
def test_installing_the_wheel_needs_no_compiler(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    monkeypatch.setenv("CC", "/bin/false")
    python = venv / "bin" / "python"
    install(
        python, "--only-binary", ":all:", "--require-hashes", "-r", str(ROOT / "requirements/runtime.txt")
    )
    install(python, "--no-deps", "--only-binary", ":all:", str(wheel))
    done = subprocess.run(
        [venv / "bin" / "sealwire", "--version"],
        check=True,
        capture_output=True,
        text=True,
        env={},
        cwd=tmp_path,
    )
    assert done.stdout.endswith("compiled core, short AES-SIV\n")
    assert (venv / "share/man/man1/sealwire-serve.1").is_file()
    assert (venv / "share/bash-completion/completions/sealwire").is_file()


_VALIDATE = """
import sys
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(0 if error is None else str(error))
"""


def assert_valid(file: Path) -> None:
    command = [str(deploy_python()), "-c", _VALIDATE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sbom(tmp_path_factory.mktemp("sbom") / "sealwire.cdx.json")


@pytest.mark.slow
def test_cyclonedx_takes_it_and_would_not_take_another(sbom: Path, tmp_path: Path) -> None:
    assert_valid(sbom)
    document: dict[str, Any] = json.loads(sbom.read_text(encoding="utf-8"))
    document["components"][0]["type"] = "sidecar"
    (tmp_path / "wrong.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(AssertionError):
        assert_valid(tmp_path / "wrong.json")


@pytest.mark.slow
def test_it_lists_what_the_lock_pins_with_every_hash(sbom: Path) -> None:
    document = json.loads(sbom.read_text(encoding="utf-8"))
    listed: dict[str, set[str]] = {}
    for component in document["components"]:
        listed.setdefault(component["name"], set()).add(component["version"])
        assert component["purl"].startswith("pkg:pypi/")
        assert any("hashes" in each for each in component["externalReferences"])
    assert listed == pins("runtime")
    assert document["metadata"]["component"]["name"] == "sealwire"


@pytest.mark.slow
def test_the_same_lock_gives_the_same_file(sbom: Path, tmp_path: Path) -> None:
    assert write_sbom(tmp_path / "again.json").read_bytes() == sbom.read_bytes()


@pytest.mark.slow
def test_make_sbom_says_where_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.sbom"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "build/wheels/sealwire.cdx.json\n"
