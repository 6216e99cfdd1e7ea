"""Builds the image by buildah, on a base that mmdebstrap makes: what stands in for Docker and for a registry.

`python:3.13-slim` is played by Debian with its own Python, under that very name. Each RUN of the Dockerfile
is a chroot that has the host's network, and layers are whole copies (`vfs`): neither needs overlay mounts,
cgroups or network namespaces, which a container that tests run in does not have. Limits stay as they are,
since a kernel that was told so lets nobody raise them.
"""

import hashlib
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.build_context import ROOT

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
