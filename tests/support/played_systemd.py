"""Plays the part of systemd that a unit needs to run, in the root of `played_host`.

    systemctl daemon-reload | start UNIT | enable --now UNIT | restart UNIT | stop UNIT
    journalctl --unit=UNIT ...

A unit runs as its User with its Environment and EnvironmentFile alone, without capabilities, and can write to
its StateDirectory, its LogsDirectory and a /tmp of its own only, as ProtectSystem=strict has it. Filters
of system calls and namespaces of users and devices are not played. What it prints is in a file of its own.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

UNITS = Path("/etc/systemd/system")
KEPT = Path("/played")
EXTRA = KEPT / "environment"
"""What the test adds to every unit's environment: ports that are free."""
_IN_ITS_SANDBOX = """
for folder in {folders}; do
    install -d -m 0700 -o {user} -g {user} "$folder"
    mount --bind "$folder" "$folder"
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p '{root}' && mount --bind /played/program '{root}'
mount -o remount,bind,ro /
umask {umask}
exec setpriv --reuid {user} --regid {user} --init-groups \\
    --inh-caps=-all --bounding-set=-all --no-new-privs {command}
"""


class Unit:
    """One unit's file, read as far as it is played; `name` without `.service`."""

    def __init__(self, name: str) -> None:
        base, at, self.instance = name.removesuffix(".service").partition("@")
        self.file = UNITS / f"{base}{at}.service"
        self.log = KEPT / f"{name}.log"
        self.pid = KEPT / f"{name}.pid"
        self._settings: dict[str, list[str]] = {}
        text = self.file.read_text(encoding="utf-8").replace("%i", self.instance)
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            self._settings.setdefault(key, []).append(value)

    def start(self) -> int:
        """Run its commands; the last of a service that is no task stays. Its first bad exit code."""
        is_task = self._settings["Type"] == ["oneshot"]
        for command in self._settings["ExecStart"]:
            process = self._run(command.removeprefix("-"))
            if not is_task:
                self.pid.write_text(str(process.pid))
                return 0
            if process.wait() != 0 and not command.startswith("-"):
                return process.returncode
        return 0

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        if self.pid.exists():
            pid = int(self.pid.read_text())
            os.kill(pid, signal.SIGTERM)
            while not _has_ended(pid):
                time.sleep(0.05)
            self.pid.unlink()
        return 0

    def _run(self, command: str) -> subprocess.Popen[bytes]:
        kinds = (("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"))
        names = {kind: " ".join(self._settings.get(kind, ())).split() for kind, _ in kinds}
        folders = [f"{above}/{name}" for kind, above in kinds for name in names[kind]]
        script = _IN_ITS_SANDBOX.format(
            folders=" ".join(folders),
            user=self._settings["User"][0],
            umask=self._settings.get("UMask", ["0022"])[0],
            root=(KEPT / "root").read_text(),
            command=command,
        )
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-euc", script],
                env=dict(self._environment()),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> Mapping[str, str]:
        found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8"}
        given = [word for line in self._settings.get("Environment", ()) for word in line.split()]
        for file in (*self._settings.get("EnvironmentFile", ()), str(EXTRA)):
            place = Path(file.removeprefix("-"))
            if place.exists() or not file.startswith("-"):
                given += place.read_text().splitlines()
        return found | {name: value for name, _, value in (line.partition("=") for line in given)}


def _has_ended(pid: int) -> bool:
    """Whether its sockets are closed too; a process without a command line may still have them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def main(words: list[str]) -> int:
    """The exit code of the command that `words` is."""
    os.umask(0o022)  # systemd does not have that of a shell
    program, *rest = words
    if program == "journalctl":
        (name,) = [word.removeprefix("--unit=") for word in rest if word.startswith("--unit=")]
        sys.stdout.write((KEPT / f"{name}.log").read_text())
        return 0
    verb, *names = [word for word in rest if word != "--now"]
    if verb == "daemon-reload":
        return 0
    (unit,) = map(Unit, names)
    if verb in {"stop", "restart"}:
        unit.stop()
    return 0 if verb == "stop" else unit.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
