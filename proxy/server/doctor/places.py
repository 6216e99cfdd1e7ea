"""Where a proxy listens, writes and reads: ports, room on disks, and who else may write there."""

import os
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sealwire.keys.private_file import read_trusted
from sealwire.proxy.server.config.settings import Address, Config
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, doubtful, good, tried, wrong
from sealwire.proxy.server.errors import ListenProblem, StartReason
from sealwire.proxy.server.ports import bind

LEAST_BYTES = 64 << 20
"""With less a log of this size and its checkpoints have no room left: `audit.file_bytes` is 32 MiB."""
FEW_BYTES = 1 << 30
_MOST_SOURCE_BYTES = 1 << 24


def look_at_ports(config: Config) -> Iterator[Diagnosis]:
    """Whether each address can be bound. Each is bound for a moment, and no client is accepted."""
    addresses = [(f"port {member.listen}", member.listen) for member in config.members]
    if config.discovery is not None:
        host, ports = config.discovery.listen, config.discovery.ports
        addresses += [(f"port {Address(host, port)}", Address(host, port)) for port in ports]
    for about, address in [*addresses, (f"admin port {config.admin}", config.admin)]:
        yield _look_at_port(about, address)


def _look_at_port(about: str, address: Address) -> Diagnosis:
    try:
        for sock in bind(address):
            sock.close()
    except ListenProblem as error:
        if error.reason is StartReason.PORT_IN_USE:
            hint = "as it should be while this proxy runs: sealwire healthcheck; else find out who has it"
            return doubtful(about, str(error), hint)
        return wrong(about, str(error), error.hint)
    return good(about, "free")


def look_at_sources(config_path: Path, config: Config) -> Iterator[Diagnosis]:
    """Whether somebody else could change configuration or policy: he would say what is encrypted."""
    for about, path in (("configuration's file", config_path), ("policy's file", config.policy)):
        yield from tried(about, partial(_trusted, path))


def _trusted(path: Path) -> str:
    """Raises KeysError."""
    read_trusted(path, _MOST_SOURCE_BYTES)
    return f"{path}: nobody else may change it"


def look_at_folders(config_path: Path, config: Config) -> Iterator[Diagnosis]:
    """Whether somebody else could put other files in the place of those that are named."""
    paths = [config_path, config.policy, config.audit.place.path if config.audit is not None else None]
    if isinstance(config.keyring, Path):
        paths.append(config.keyring)
    for folder in dict.fromkeys(path.absolute().parent for path in paths if path is not None):
        try:
            status = folder.stat()
        except OSError:  # what lies in it has a diagnosis of its own
            continue
        yield judge_folder(folder, status)


def judge_folder(folder: Path, status: os.stat_result) -> Diagnosis:
    """Whether others may replace what is in `folder`; a sticky bit, as /tmp has it, keeps them from that."""
    about, mode = f"folder {folder}", status.st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        text = f"others may replace what is in it (mode {stat.S_IMODE(mode):04o})"
        return wrong(about, text, f"chmod go-w {folder}")
    if status.st_uid not in (0, os.geteuid()):
        text = f"user {status.st_uid} owns it, and may replace what is in it"
        return wrong(about, text, f"chown root {folder}, or run this as the proxy's user")
    return good(about, "nobody else may replace what is in it")


def look_at_room(config: Config) -> Iterator[Diagnosis]:
    """Room for the audit log: one that cannot be written ends connections, or makes clients wait."""
    if config.audit is None:
        return
    for path in (config.audit.place.path, *config.audit.place.checkpoints):
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError:  # that it is missing is said of the log
            continue
        yield judge_room(path.parent, free)


def judge_room(folder: Path, free: int) -> Diagnosis:
    """Whether `free` bytes are enough for what is written to `folder`."""
    about, text = f"room in {folder}", f"{free >> 20} MiB are free"
    hint = "make room, or move audit.path: what cannot be recorded is not served (audit.when_full)"
    if free < LEAST_BYTES:
        return wrong(about, text, hint)
    return doubtful(about, text, hint) if free < FEW_BYTES else good(about, text)
