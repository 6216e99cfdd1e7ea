"""Wheel and sdist hold every room once, below one name; an import path is a file path in a clone too."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.build_context import ROOMS, ROOT, copy_build_context
from tests.support.rows import rows
from tests.support.runs import ran
from tests.support.skips import skip_in_samples, skip_or_fail
from tests.test_release import pins
from tools import compiled_tree, install, wheels
from tools.compiled_tree import digest_of, missing_for_compiling
from tools.install import Progress, Step, run_pip, step_of
from tools.sbom import deploy_python, write_sbom
from tools.sbom import install as install_wheel


def source_modules() -> set[str]:
    """Every Python file, py.typed, template, style sheet, script and YAML example, named as in the wheel."""
    wanted: set[str] = set()
    for folder, prefix in [("sealwire", "sealwire"), *((room, f"sealwire/{room}") for room in ROOMS)]:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".css", ".j2", ".py", ".sh", ".yaml"} or path.name == "py.typed":
                wanted.add(str(PurePosixPath(prefix) / path.relative_to(ROOT / folder).as_posix()))
    return wanted


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of just what the container build sees."""
    source = tmp_path_factory.mktemp("source")
    copy_build_context(source)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(source)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_of_every_room_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == source_modules()
    assert {f"sealwire/{room}/__init__.py" for room in ROOMS} < names


def test_the_only_top_level_name_of_the_wheel_is_sealwire(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"sealwire", f"sealwire-{version('sealwire')}.dist-info"}


def test_the_wheel_carries_the_licence_the_types_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "sealwire = sealwire.cli:main" in archive.read(entry_points).decode()
    for licence in ("LICENSE", "files/html/pico.LICENSE.md"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)
    assert "sealwire/py.typed" in names  # holds for all packages below it (PEP 561)


def test_the_installed_wheel_imports_every_room_from_where_it_was_installed(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    # The interpreter has the editable install as well; the files tell which of the two was taken.
    program = (
        "import importlib, json, sys\n"
        "print(json.dumps([importlib.import_module(name).__file__ for name in sys.argv[1:]]))"
    )
    modules = ["sealwire", *(f"sealwire.{room}" for room in ROOMS)]
    done = subprocess.run(
        [sys.executable, "-c", program, *modules],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
    )
    files = json.loads(done.stdout)
    assert files == [str(target.joinpath(*module.split("."), "__init__.py")) for module in modules]


@pytest.mark.parametrize("room", ROOMS)
def test_the_editable_install_resolves_a_room_to_its_folder(room: str) -> None:
    spec = find_spec(f"sealwire.{room}")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).resolve() == ROOT / room / "__init__.py"


def test_no_room_is_installed_under_its_bare_name() -> None:
    program = "import importlib.util, sys\nprint([n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *ROOMS], check=True, capture_output=True, cwd=Path(sys.prefix)
    )
    assert done.stdout.decode().strip() == "[]"


def test_the_package_links_every_room_and_nothing_else() -> None:
    links = {path.name: str(path.readlink()) for path in (ROOT / "sealwire").iterdir() if path.is_symlink()}
    assert links == {room: f"../{room}" for room in ROOMS}


def test_a_clone_runs_without_being_installed(tmp_path: Path) -> None:
    copy_build_context(tmp_path)
    program = "import sealwire.wire.framing as module; print(module.__file__)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=tmp_path)
    assert Path(done.stdout.decode().strip()) == tmp_path / "sealwire" / "wire" / "framing.py"


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    copy_build_context(source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as direct, zipfile.ZipFile(built) as by_archive:
        assert sorted(by_archive.namelist()) == sorted(direct.namelist())


def test_the_build_group_names_what_the_build_system_requires() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert document["dependency-groups"]["build"] == document["build-system"]["requires"]


@pytest.mark.parametrize("compiled", ["0", "1"])
def test_pip_is_told_of_mypy_and_the_dependencies_when_the_core_is_to_be_compiled(
    tmp_path: Path, compiled: str
) -> None:
    copy_build_context(tmp_path)
    program = "from setuptools import build_meta; print(build_meta.get_requires_for_build_wheel())"
    done = ran(
        [sys.executable, "-c", program],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"SEALWIRE_COMPILE": compiled},
    )
    needed = ast.literal_eval(done.stdout.splitlines()[-1])
    projects = {re.split(r"[<>=\[]", each)[0] for each in needed}
    assert {"mypy", "cryptography", "librt"} <= projects if compiled == "1" else not projects


def test_the_build_context_holds_no_test_and_no_history(tmp_path: Path) -> None:
    copy_build_context(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "requirements",
        "sealwire",
        "setup.py",
        *ROOMS,
    }


# `make setup` takes the first Python that can make an environment, and says in two lines when none can.


# Stands for an interpreter: answers `-c` by what it claims to have, and writes down its other calls.
FAKE_PYTHON = """\
#!/bin/sh
if [ "$1" = -c ]; then
    case "$2" in
        *ensurepip*) exit {ensurepip} ;;
        *"import pip"*) exit {pip} ;;
        *) exit {old} ;;
    esac
fi
echo "$(basename "$0") $*" >> "{log}"
[ "$2" != venv ] || mkdir -p "$(for last; do :; done; echo "$last")"
"""


class Machine:
    """A PATH of fake interpreters beside the ordinary tools of a shell."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.log = directory / "log"
        self.venv = directory / "venv"
        self.bin.mkdir()
        for tool in ("sh", "dirname", "basename", "sed", "mkdir"):
            (self.bin / tool).symlink_to(
                next(p for p in (Path("/usr/bin") / tool, Path("/bin") / tool) if p.exists())
            )

    def add_python(self, name: str, *, old: bool = False, ensurepip: bool = True, pip: bool = True) -> None:
        answers = {"ensurepip": int(not ensurepip), "pip": int(not pip), "old": int(old)}
        path = self.bin / name
        path.write_text(FAKE_PYTHON.format(log=self.log, **answers))
        path.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return ran([ROOT / "tools" / "make_venv.sh", self.venv], env={"PATH": str(self.bin)} | environment)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_first_interpreter_that_is_new_enough_and_has_ensurepip_is_taken(machine: Machine) -> None:
    machine.add_python("python3.13", ensurepip=False)
    machine.add_python("python3.12", old=True)
    machine.add_python("python3.11")
    machine.add_python("python3")
    assert machine.run().returncode == 0
    assert machine.calls() == [f"python3.11 -m venv --clear {machine.venv}"]


def test_a_named_interpreter_is_the_only_one_looked_at(machine: Machine) -> None:
    machine.add_python("python3.13")
    machine.add_python("mine")
    assert machine.run(PYTHON="mine").returncode == 0
    assert machine.calls() == [f"mine -m venv --clear {machine.venv}"]


def test_without_ensurepip_the_pip_of_the_machine_brings_the_locked_one(machine: Machine) -> None:
    machine.add_python("python3", ensurepip=False)
    assert machine.run().returncode == 0
    made, installed = machine.calls()
    assert made == f"python3 -m venv --clear --without-pip {machine.venv}"
    assert "--require-hashes" in installed
    requirement = (machine.venv / "pip.txt").read_text().splitlines()
    assert requirement[0].startswith("pip==")
    assert all("--hash=sha256:" in line for line in requirement[1:])
    assert len(requirement) > 1


@pytest.mark.parametrize("has", ["nothing", "only an old one", "one without ensurepip and pip"])
def test_a_machine_that_cannot_is_told_why_and_what_to_do(machine: Machine, has: str) -> None:
    if has != "nothing":
        machine.add_python("python3", old="old" in has, ensurepip=False, pip=False)
    done = machine.run()
    assert done.returncode == 78
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["error", "hint"]
    assert not machine.venv.exists()


def test_an_environment_that_works_is_left_alone(machine: Machine) -> None:
    machine.add_python("python3")
    machine.venv.joinpath("bin").mkdir(parents=True)
    os.link(machine.bin / "python3", machine.venv / "bin" / "python")
    assert machine.run().returncode == 0
    assert not machine.log.exists()


# What `make setup` shows while pip works, and that nothing is hidden when it fails.


FETCHED = """\
Ignoring atheris: markers 'python_version < "3.12"' don't match your environment
Collecting attrs==26.1.0 (from -r requirements/dev.txt (line 3))
  Using cached attrs-26.1.0-py3-none-any.whl (61 kB)
Collecting pyyaml==6.0.3 (from -r requirements/dev.txt (line 9))
"""
INSTALLED = FETCHED + "Installing collected packages: pyyaml, backports.zstd, attrs\n"


def test_packages_are_counted_while_pip_fetches_them() -> None:
    assert step_of("Looking in indexes: https://index.example\n", 5, 0) is None
    assert step_of(INSTALLED, 0, 0) is None
    assert step_of(FETCHED, 5, 0) == Step("fetching", 2, 4, "pyyaml")


@rows("installed, place, name", (0, 1, "pyyaml"), (1, 2, "backports.zstd"), (2, 3, "attrs"), (3, 3, "attrs"))
def test_packages_are_counted_while_pip_installs_them(installed: int, place: int, name: str) -> None:
    assert step_of(INSTALLED, 5, installed) == Step("installing", place, 3, name)


def steps(progress: Progress) -> None:
    for what in ("fetching", "installing"):
        for done in range(1, 61):
            progress.show(Step(what, done, 60, f"package-{done}"))
            progress.show(None)
    progress.end()


def test_without_a_terminal_there_is_a_line_every_few_packages(capsys: pytest.CaptureFixture[str]) -> None:
    steps(Progress())
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in shown] == ["1", "26", "51"] * 2
    assert install.EVERY == 25


def test_on_a_terminal_one_line_is_written_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "31")
    steps(Progress())
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    lines = shown.rstrip("\n").split("\r")[1:]
    assert len(lines) == 120
    assert {len(line) for line in lines} == {30}
    assert "package-60" not in lines[-1]


def test_when_pip_fails_all_that_it_said_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_pip(["--no-index", "no-such-package"], 1, Progress()) == 1
    said = capsys.readouterr()
    assert "no-such-package" in said.err
    assert "ERROR" in said.err


# `make wheels`: what it makes for which Python, and that installing it needs no compiler.


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
    compiled_wheel = tmp_path / "a.whl"
    compiled_wheel.write_bytes(b"of one")
    compiled_tree.stamp_wheel("one", compiled_wheel)
    assert compiled_tree.built_wheel("one") == compiled_wheel
    assert compiled_tree.built_wheel("two") is None
    compiled_wheel.write_bytes(b"of two, by the same name")
    compiled_tree.stamp_wheel("two", compiled_wheel)
    assert compiled_tree.built_wheel("one") is None
    assert compiled_tree.built_wheel("two") == compiled_wheel
    compiled_wheel.unlink()
    assert compiled_tree.built_wheel("two") is None


def test_what_enters_a_wheel_is_what_the_image_sees() -> None:
    assert all(wheels.is_context(name) for name in ("setup.py", "README.md", "LICENSE", "wire/raw_bson.py"))
    assert not any(wheels.is_context(name) for name in ("tests/conftest.py", "docs/README.md", "Makefile"))


def test_without_a_compiler_one_line_says_so() -> None:
    command = [sys.executable, "-m", "tools.wheels"]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = ran(command, cwd=ROOT, env=environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1)


@pytest.fixture(scope="module")
def compiled_wheel() -> Path:
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
def test_the_checksums_are_those_of_the_wheels(compiled_wheel: Path) -> None:
    lines = wheels.SUMS.read_text(encoding="utf-8").splitlines()
    assert f"{hashlib.sha256(compiled_wheel.read_bytes()).hexdigest()}  {compiled_wheel.name}" in lines
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", wheels.SUMS], cwd=compiled_tree.WHEELS, check=True
    )


@pytest.mark.slow
def test_the_wheel_runs_on_older_systems_than_this_one(compiled_wheel: Path) -> None:
    command = [str(deploy_python()), "-m", "auditwheel", "show", str(compiled_wheel)]
    shown = ran(command, check=True).stdout
    tag = re.search(r"-(manylinux_\d+_\d+|manylinux2014|linux)_", compiled_wheel.name)
    assert tag is not None
    assert tag.group(1) == "linux" or tag.group(1) in shown
    with zipfile.ZipFile(compiled_wheel) as archive:
        assert not any(".libs/" in name for name in archive.namelist())  # it needs nothing but libc


@pytest.mark.slow
def test_installing_the_wheel_needs_no_compiler(
    compiled_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    monkeypatch.setenv("CC", "/bin/false")
    python = venv / "bin" / "python"
    install_wheel(
        python, "--only-binary", ":all:", "--require-hashes", "-r", str(ROOT / "requirements/runtime.txt")
    )
    install_wheel(python, "--no-deps", "--only-binary", ":all:", str(compiled_wheel))
    done = ran([venv / "bin" / "sealwire", "--version"], check=True, env={}, cwd=tmp_path)
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
    done = ran(command)
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
    done = ran([sys.executable, "-m", "tools.sbom"], cwd=ROOT, check=True)
    assert done.stdout == "build/wheels/sealwire.cdx.json\n"
