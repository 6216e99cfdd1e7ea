"""The image, really built from the Dockerfile by buildah, and a proxy that runs in it."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pymongo
import pytest

from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.child import free_port
from tests.build_context import ROOT
from tests.support.debian import require_files, require_programs
from tests.support.secantus import secantus
from tests.support.skips import skip_in_samples
from tests.test_wheels import assert_valid

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
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
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


pytestmark = [pytest.mark.slow, pytest.mark.integration]

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


def test_the_image_says_how_it_is_run(buildah: Buildah) -> None:
    config = json.loads(buildah.run("inspect", "--type", "image", TAG))["Docker"]["config"]
    assert config["User"] == "10127:10127"
    assert config["Entrypoint"] == ["sealwire"]
    assert config["Cmd"] == ["serve", "--config", "/etc/sealwire/sealwire.yaml"]
    assert set(config["ExposedPorts"]) == {"27017/tcp", "9464/tcp"}
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "sealwire", "healthcheck"]


def test_the_core_is_compiled_and_no_compiler_is_there(buildah: Buildah, container: str, root: Path) -> None:
    done = subprocess.run(buildah.inside(container, "sealwire", "--version"), capture_output=True, check=True)
    assert done.stdout.endswith(b"compiled core, short AES-SIV\n")
    assert not any((root / "usr/bin" / name).exists() for name in ("gcc", "cc", "x86_64-linux-gnu-gcc"))
    assert not (root / "src").exists()


def test_it_runs_as_nobody_who_could_change_it(buildah: Buildah, container: str, root: Path) -> None:
    script = "id -u; touch /opt/sealwire/x 2>&1 | tail -c 18; touch /var/log/sealwire/x && echo written"
    done = subprocess.run(
        buildah.inside(container, "sh", "-c", script), capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:3] == ["10127", "Permission denied", "written"]
    owned = {path.lstat().st_uid for path in (root / "opt/sealwire").rglob("*")}
    assert owned == {0}


def test_its_parts_are_listed_where_the_documents_say(root: Path) -> None:
    file = root / "opt/sealwire/share/sealwire.cdx.json"
    assert_valid(file)
    names = {part["name"] for part in json.loads(file.read_text(encoding="utf-8"))["components"]}
    assert {"sealwire", "cryptography", "uvloop", "cramjam", "opentelemetry-sdk"} <= names
    assert not {"mypy", "cyclonedx-bom", "setuptools", "boto3"} & names


def test_manual_pages_and_completion_are_in_it(root: Path) -> None:
    share = root / "opt/sealwire/share"
    assert (share / "man/man1/sealwire-serve.1").is_file()
    assert "sealwire" in (share / "bash-completion/completions/sealwire").read_text(encoding="utf-8")


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
