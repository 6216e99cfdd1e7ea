"""The container image as far as it can be checked without an engine: its text, and its steps by hand."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.build_context import ROOT, copy_build_context
from tests.support.skips import skip_or_fail
from tools import lock
from tools.compiled_tree import (
    BUILT_BY,
    built_wheel,
    digest_of,
    is_packaged,
    missing_for_compiling,
    tracked_files,
)

USES_EXTRAS = """
from sealwire.proxy.server.observability import traces
from sealwire.wire.compressors import compressor_named
for name in ("snappy", "zstd", "zlib"):
    compressor_named(name)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
"""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), comments dropped and continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", text)
    parts = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, arguments.strip()) for name, _, arguments in parts]


def final_stage() -> dict[str, str]:
    """The last arguments of each instruction of the stage that is shipped."""
    steps = instructions()
    start = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    return dict(steps[start:])


def test_the_shipped_stage_is_not_the_one_that_builds() -> None:
    stages = [arguments for name, arguments in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert all(re.match(r"python:\$\{PYTHON_VERSION\}-slim\b", stage) for stage in stages)
    assert final_stage()["COPY"].startswith("--from=build ")


def test_the_image_runs_as_a_fixed_user_who_is_not_root() -> None:
    user = re.fullmatch(r"(\d+):(\d+)", final_stage()["USER"])
    assert user is not None
    assert all(int(number) >= 10_000 for number in user.groups())
    assert f"--uid {user.group(1)} " in final_stage()["RUN"]


def test_the_image_starts_and_checks_itself_without_a_shell() -> None:
    stage = final_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["sealwire"]
    command = json.loads(stage["CMD"])
    assert command == ["serve", "--config", "/etc/sealwire/sealwire.yaml"]
    check = json.loads(stage["HEALTHCHECK"].partition(" CMD ")[2])
    assert check == ["sealwire", "healthcheck", *command[1:]]


def test_the_image_writes_no_bytecode_at_run_time() -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in final_stage()["ENV"]
    assert "compileall" in " ".join(arguments for name, arguments in instructions() if name == "RUN")


def test_everything_that_enters_the_image_is_hashed() -> None:
    (_, dependencies, build) = [arguments for name, arguments in instructions() if name == "RUN"][:3]
    installs = re.findall(r"install (.*?)(?:&&|$)", dependencies)
    assert len(installs) == 3
    assert all("--require-hashes" in install for install in installs)
    assert "--no-deps --no-build-isolation" in build


def test_the_extras_of_the_image_are_those_of_a_lock_that_is_there() -> None:
    arguments = [arguments for name, arguments in instructions() if name == "ARG"]
    (chosen,) = [each.partition("=")[2] for each in arguments if each.startswith("LOCK=")]
    assert chosen == "image"
    (copied,) = [each for name, each in instructions() if name == "COPY" and "requirements/" in each]
    assert {f"requirements/{name}.txt" for name in ("image", "image-full")} <= set(copied.split())
    (_, dependencies, _) = [each for name, each in instructions() if name == "RUN"][:3]
    assert '-r "requirements/${LOCK}.txt"' in dependencies


def test_no_secret_is_named_in_the_image() -> None:
    named = [arguments for name, arguments in instructions() if name in {"ARG", "ENV", "COPY", "ADD"}]
    assert not re.search(r"KEK|PASS|SECRET|TOKEN|\.pem|\.key", " ".join(named), re.IGNORECASE)


def test_the_core_is_compiled_and_the_compiler_stays_behind() -> None:
    steps = instructions()
    (compiler, _, build) = [arguments for name, arguments in steps if name == "RUN"][:3]
    assert "--no-install-recommends gcc libc6-dev" in compiler
    assert compiler.endswith("rm -rf /var/lib/apt/lists/*")
    assert build.startswith("SEALWIRE_COMPILE=1 SEALWIRE_SHORT_SIV=1 ")
    assert "grep 'compiled core, short AES-SIV'" in build
    assert "apt-get" not in final_stage()["RUN"]


@pytest.mark.slow
def test_the_steps_of_the_image_give_a_sealwire_that_runs_from_read_only_files(tmp_path: Path) -> None:
    """`make wheels` takes the same steps: its wheel of the same files saves the compiler's two minutes."""
    if lacking := missing_for_compiling():
        skip_or_fail(lacking)
    source, wheels, venv, builder = (tmp_path / name for name in ("src", "wheels", "sealwire", "builder"))
    source.mkdir()
    copy_build_context(source)
    for made in (venv, builder):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)

    locked = ["install", "--no-compile", "--require-hashes"]
    pip(venv, *locked, "--only-binary", ":all:", "-r", str(lock.lock_path("image")))
    sources = [name for name in tracked_files() if is_packaged(name) or name in BUILT_BY]
    assert [name for name in sources if not (source / name).exists()] == []
    wheel = built_wheel(digest_of(sources))
    if wheel is None:
        pip(builder, *locked, "-r", str(lock.lock_path("build")), "-r", str(lock.lock_path("runtime")))
        options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
        choices = {"SEALWIRE_COMPILE": "1", "SEALWIRE_SHORT_SIV": "1"}
        pip(builder, "wheel", *options, environment=os.environ | choices)
        (wheel,) = wheels.glob("*.whl")
    pip(venv, "install", "--no-compile", "--no-deps", str(wheel))
    python = venv / "bin" / "python"
    compiled = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(venv / "lib")]
    subprocess.run([python, *compiled], check=True)

    before = {path for path in venv.rglob("*") if path.is_file()}
    done = subprocess.run([venv / "bin" / "sealwire", "--version"], check=True, capture_output=True, env={})
    assert done.stdout.startswith(b"sealwire, version ")
    assert done.stdout.endswith(b"compiled core, short AES-SIV\n")
    imports = (
        "import sealwire.wire, sealwire.crypto, sealwire.keys, sealwire.policies, sealwire.proxy, uvloop"
    )
    subprocess.run([python, "-I", "-c", imports], check=True, cwd="/", env={})
    subprocess.run([python, "-I", "-c", USES_EXTRAS], check=True, cwd="/", env={})
    assert {path for path in venv.rglob("*") if path.is_file()} == before


def pip(venv: Path, command: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """pip of this environment, at work in another one."""
    program = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    subprocess.run([*program, command, "--quiet", *arguments], check=True, env=environment)
