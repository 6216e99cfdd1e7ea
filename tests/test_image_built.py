"""The image, really built from the Dockerfile by buildah, and a proxy that runs in it."""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pymongo
import pytest

from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.child import free_port
from tests.build_context import ROOT, copy_build_context
from tests.support.debian import require_files, require_programs
from tests.support.runs import ran
from tests.support.secantus import secantus
from tests.support.skips import skip_in_samples, skip_or_fail
from tests.test_packaging import assert_valid
from tools import lock
from tools.compiled_tree import (
    BUILT_BY,
    built_wheel,
    digest_of,
    is_packaged,
    missing_for_compiling,
    tracked_files,
)

# Builds the image by buildah, on a base that mmdebstrap makes: what stands in for Docker and for a
# registry.
#
# `python:3.13-slim` is played by Debian with its own Python, under that very name. Each RUN of the
# Dockerfile is a chroot that has the host's network, and layers are whole copies (`vfs`): neither needs
# overlay mounts, cgroups or network namespaces, which a container that tests run in does not have. Limits
# stay as they are, since a kernel that was told so lets nobody raise them.


BASE = "docker.io/library/python:3.13-slim"
KEPT = ROOT / "build" / "image-base"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PACKAGES = "python3,python3-dev,python3-pip,python3-venv,ca-certificates"
_HOOKS = (
    'ln -s python3 "$1/usr/bin/python"',
    'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',  # the official image lets pip install beside it
    f"copy-in {_CERTIFICATES} {Path(_CERTIFICATES).parent}",  # a company's proxy has an authority of its own
    f'printf "[global]\\ncert = {_CERTIFICATES}\\n" > "$1/etc/pip.conf"',
)


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a store of its own in `folder`."""

    folder: Path

    def run(self, *arguments: str, within_s: float = 1800) -> str:
        """What it prints. Raises:  AssertionError with the end of both streams"""
        places = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        command = ["buildah", *places, "--storage-driver", "vfs", *arguments]
        done = ran(command, timeout=within_s)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def build(self, tag: str) -> None:
        """Make the base known by its name, and build the Dockerfile on it."""
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(base_archive()), "/")
        self.run("commit", "--quiet", "--rm", container, BASE)
        options = ["--isolation", "chroot", "--pull=never", "--layers=false", "--format", "docker"]
        self.run("build", *options, *limits(), "--tag", tag, str(ROOT))

    def inside(self, container: str, *command: str, volumes: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs a command in a container, as the image's user."""
        places = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        mounts = [part for volume in volumes for part in ("--volume", volume)]
        options = ["--storage-driver", "vfs", "run", "--isolation", "chroot", *mounts]
        return ["buildah", *places, *options, container, "--", *command]


def limits() -> list[str]:
    """This process' own, in place of those that buildah would set."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    own = {name: resource.getrlimit(kind) for name, kind in kinds.items()}
    return [part for name, (soft, hard) in own.items() for part in ("--ulimit", f"{name}={soft}:{hard}")]


def base_archive() -> Path:
    """The base as a tar file; made once for each recipe."""
    recipe = hashlib.sha256(repr((_PACKAGES, _HOOKS)).encode()).hexdigest()[:16]
    archive = KEPT / f"{recipe}.tar"
    if not archive.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
        unfinished = archive.with_suffix(".unfinished.tar")
        options = ["--variant=minbase", f"--include={_PACKAGES}", *hooks]
        subprocess.run(["mmdebstrap", *options, "trixie", unfinished], check=True, capture_output=True)
        unfinished.rename(archive)
    return archive


TAG = "sealwire:test"
POLICY = """
version: 1
classes: {n: {mode: deterministic, type: string}}
collections: {clinic.patients: {n: n}}
"""


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    skip_in_samples("building the image")
    if os.geteuid() != 0:
        pytest.skip("changes its root folder, which needs root")
    require_programs({"buildah": "buildah", "mmdebstrap": "mmdebstrap"})
    require_files({"usr/lib/podman/netavark": "netavark"})  # buildah only recommends it, and asks for it
    built = Buildah(tmp_path_factory.mktemp("buildah"))
    built.build(TAG)
    yield built
    built.run("rm", "--all")
    built.run("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def container(buildah: Buildah) -> str:
    return buildah.run("from", "--pull=never", *limits(), TAG)


@pytest.fixture(scope="module")
def root(buildah: Buildah, container: str) -> Path:
    """The files of the image, where the host sees them."""
    return Path(buildah.run("mount", container))


@pytest.mark.slow
@pytest.mark.integration
def test_the_image_says_how_it_is_run(buildah: Buildah) -> None:
    config = json.loads(buildah.run("inspect", "--type", "image", TAG))["Docker"]["config"]
    assert config["User"] == "10127:10127"
    assert config["Entrypoint"] == ["sealwire"]
    assert config["Cmd"] == ["serve", "--config", "/etc/sealwire/sealwire.yaml"]
    assert set(config["ExposedPorts"]) == {"27017/tcp", "9464/tcp"}
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "sealwire", "healthcheck"]


@pytest.mark.slow
@pytest.mark.integration
def test_the_core_is_compiled_and_no_compiler_is_there(buildah: Buildah, container: str, root: Path) -> None:
    done = subprocess.run(buildah.inside(container, "sealwire", "--version"), capture_output=True, check=True)
    assert done.stdout.endswith(b"compiled core, short AES-SIV\n")
    assert not any((root / "usr/bin" / name).exists() for name in ("gcc", "cc", "x86_64-linux-gnu-gcc"))
    assert not (root / "src").exists()


@pytest.mark.slow
@pytest.mark.integration
def test_it_runs_as_nobody_who_could_change_it(buildah: Buildah, container: str, root: Path) -> None:
    script = "id -u; touch /opt/sealwire/x 2>&1 | tail -c 18; touch /var/log/sealwire/x && echo written"
    done = ran(buildah.inside(container, "sh", "-c", script), check=True)
    assert done.stdout.split("\n")[:3] == ["10127", "Permission denied", "written"]
    owned = {path.lstat().st_uid for path in (root / "opt/sealwire").rglob("*")}
    assert owned == {0}


@pytest.mark.slow
@pytest.mark.integration
def test_its_parts_are_listed_where_the_documents_say(root: Path) -> None:
    file = root / "opt/sealwire/share/sealwire.cdx.json"
    assert_valid(file)
    names = {part["name"] for part in json.loads(file.read_text(encoding="utf-8"))["components"]}
    assert {"sealwire", "cryptography", "uvloop", "cramjam", "opentelemetry-sdk"} <= names
    assert not {"mypy", "cyclonedx-bom", "setuptools", "boto3"} & names


@pytest.mark.slow
@pytest.mark.integration
def test_manual_pages_and_completion_are_in_it(root: Path) -> None:
    share = root / "opt/sealwire/share"
    assert (share / "man/man1/sealwire-serve.1").is_file()
    assert "sealwire" in (share / "bash-completion/completions/sealwire").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.integration
def test_a_proxy_in_it_serves_a_client_and_stops_when_told(
    buildah: Buildah, container: str, tmp_path: Path
) -> None:
    files, port, admin = tmp_path / "files", free_port(), free_port()
    files.mkdir()
    (files / "policy.yaml").write_text(POLICY, encoding="utf-8")
    kek = generate_encoded_kek()
    volume = (f"{files}:/etc/sealwire:rw",)
    os.chown(files, 10127, 10127)
    environment = f"SEALWIRE_KEK={kek}"
    create = "sealwire keys create --keyring /etc/sealwire/keyring.json --policy /etc/sealwire/policy.yaml"
    made = buildah.inside(container, "env", environment, *create.split(), volumes=volume)
    subprocess.run(made, check=True, capture_output=True)
    with secantus(tmp_path) as database:
        config = {
            "listen": {"address": f"127.0.0.1:{port}", "tls": {"mode": "plaintext"}},
            "upstream": {
                "address": f"127.0.0.1:{database.port}",
                "access_control": "none",
                "tls": {"mode": "plaintext"},
            },
            "policy": "policy.yaml",
            "keyring": "keyring.json",
            "kek": {"provider": "environment"},
            "admin": {"address": f"127.0.0.1:{admin}"},
        }
        (files / "sealwire.yaml").write_text(json.dumps(config), encoding="utf-8")
        serve = ["sealwire", "serve", "--config", "/etc/sealwire/sealwire.yaml"]
        command = buildah.inside(container, "env", environment, *serve, volumes=volume)
        with (tmp_path / "log").open("w") as log:
            proxy = subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True)
        try:
            wait_until_ready(admin, tmp_path / "log")
            uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
            client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri)
            with client:
                patients = client["clinic"]["patients"]
                patients.insert_one({"_id": 1, "n": "943"})
                assert patients.find_one({"n": "943"}) == {"_id": 1, "n": "943"}
            with database.connect() as direct:
                stored = direct["clinic"]["patients"].find_one()
                assert stored is not None
                assert stored["n"] != "943"
        finally:
            os.killpg(proxy.pid, signal.SIGTERM)
            proxy.wait(timeout=60)


def wait_until_ready(admin: int, log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
                assert answer.status == 200
                return
        except URLError:
            time.sleep(0.2)
    pytest.fail(log.read_text(encoding="utf-8")[-2000:])


# The container image as far as it can be checked without an engine: its text, and its steps by hand.


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
