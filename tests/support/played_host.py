"""A host to install on: a root with users, /etc and /var of its own, in which commands run as root.

It is made of the machine's /usr, read-only, and a copy of its /etc, in a mount namespace that ends with
the commands; nothing of the machine changes. systemd is played by `played_systemd`. It needs root, and the
right to mount.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.build_context import ROOT
from tests.support.debian import require_programs

WORK = "/work"
"""The folder in which commands begin; `files` of the host outside."""
_WITHIN_S = 900
_MAKE = """
cd "$HOST"
mount --bind . . && cd "$HOST"
mkdir -p usr proc dev sys tmp run opt var/lib var/log var/backups etc played/program work
for link in bin sbin lib lib64; do
    [ ! -L "/$link" ] || ln -s "$(readlink "/$link")" "$link"
done
mount --bind /usr usr && mount -o remount,bind,ro usr
mount -t proc proc proc; mount --rbind /dev dev; mount --rbind /sys sys
mount -t tmpfs -o mode=1777 tmpfs tmp
cp -a /etc/. etc/
mkdir -p ".$PROGRAM" && mount --bind "$PROGRAM" played/program && mount -o remount,bind,ro played/program
mount --bind "$PROGRAM" ".$PROGRAM" && mount -o remount,bind,ro ".$PROGRAM"
exec chroot . /usr/bin/env -i PATH="/played/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin" \
    LC_ALL=C.UTF-8 HOME=/ "$@"
"""


@dataclass(frozen=True, slots=True)
class PlayedHost:
    """`folder` becomes the root; what lies in `folder/work` is where commands begin."""

    folder: Path

    @property
    def files(self) -> Path:
        """Where a test lays what an operator brings along, and finds what was made there."""
        return self.folder / WORK.lstrip("/")

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Lay systemd's part and `environment`, which every unit has besides its own."""
        self.folder.mkdir(mode=0o755)
        programs = self.folder / "played" / "bin"
        programs.mkdir(parents=True)
        self.files.mkdir()
        player = "tests/support/played_systemd.py"
        for name in ("systemctl", "journalctl"):
            (programs / name).write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/{player}" {name} "$@"\n'
            )
            (programs / name).chmod(0o755)
        (self.folder / "played" / "root").write_text(str(ROOT))
        lines = "".join(f"{name}={value}\n" for name, value in environment.items())
        (self.folder / "played" / "environment").write_text(lines)

    def install(self, version: str) -> None:
        """The program of this clone as `version` in /opt; `sealwire --version` there says which one it is."""
        programs = self.folder / "opt" / f"sealwire-{version}" / "bin"
        programs.mkdir(parents=True)
        own = Path(sys.executable).with_name("sealwire")
        (programs / "sealwire").write_text(
            f'#!/bin/sh\n[ "$1" != --version ] || echo "played as {version}"\nexec "{own}" "$@"\n'
        )
        (programs / "sealwire").chmod(0o755)

    def run(self, script: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`script` by bash, as root in the host; both streams together. What it left running ends with it."""
        words = [f"{name}={value}" for name, value in variables.items()]
        begin = f"cd {WORK}\nset -euo pipefail\n"
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command = [*own, "bash", "-euc", _MAKE, "host", *words, "bash", "-c", begin + script]
        return subprocess.run(
            command,
            env=os.environ | {"HOST": str(self.folder), "PROGRAM": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_WITHIN_S,
        )


def played_host(folder: Path, environment: Mapping[str, str]) -> PlayedHost:
    """A host in `folder`, which must not be there; skips where this machine lets nobody mount."""
    probe = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"]
    if os.geteuid() != 0 or subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        pytest.skip("a root of its own needs the right to mount")
    programs = ("systemd-sysusers", "systemd-tmpfiles")
    require_programs({"curl": "curl"} | dict.fromkeys(programs, "systemd"))
    host = PlayedHost(folder)
    host.prepare(environment)
    return host
