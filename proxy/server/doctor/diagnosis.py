"""One thing that was looked at, and how it is."""

import ctypes
import os
import platform
import resource
import shutil
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path

from sealwire import __version__, core_is_compiled, core_name
from sealwire.audit.errors import AuditError
from sealwire.crypto.errors import SelfTestFailed
from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_trusted
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.audit_writer.keeper import check_audit
from sealwire.proxy.server.config.policy_file import read_policy
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, TlsMode
from sealwire.proxy.server.errors import ListenProblem, ServerError, StartReason
from sealwire.proxy.server.findings import Finding, load_telling
from sealwire.proxy.server.observability.audit import command_audit
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.ports import bind
from sealwire.proxy.server.tls import listen_side, upstream_side
from sealwire.proxy.server.workers.checking import check
from sealwire.proxy.server.workers.start import Loaded, load

# ----------------- what the system says of itself: its clock, memory that reaches disks, and what runs here
#
# Each function judges what is given to it; `look_at_host` asks the system. Source: adjtimex(2), proc(5),
# core(5).

_TIME_ERROR = 5
"""adjtimex(2): nothing keeps the clock right."""
_TIMEX_BYTES = 512
"""More than any kernel's `struct timex`, whose first field, `modes`, is 0: nothing is set."""
_SWAPS = Path("/proc/swaps")
_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


class Grade(Enum):
    """How it is with one thing."""

    GOOD = "ok"
    DOUBTFUL = "warning"
    """A proxy starts, and somebody should know."""
    WRONG = "wrong"
    """A proxy does not start so, or it should not."""
    UNSEEN = "not seen"
    """It could not be looked at; another diagnosis says why."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at, how it is, and what to do about it. No secret is in it."""

    about: str
    grade: Grade
    text: str
    hint: str = ""
    reason: str = ""
    """The stable name of the error that was met, if it has one."""


def look_at_host() -> Iterator[Diagnosis]:
    """All of it. Cost: a few system calls."""
    yield judge_core()
    yield judge_user(os.geteuid())
    yield judge_clock(_clock_state())
    yield judge_swap(_text_of(_SWAPS))
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    yield judge_dumps(soft, _text_of(_CORE_PATTERN))


def judge_core() -> Diagnosis:
    """Which versions run, and whether the data path is compiled."""
    openssl = ssl.OPENSSL_VERSION
    versions = f"Sealwire {__version__}, {core_name()}, Python {platform.python_version()}, {openssl}"
    if core_is_compiled():
        return good("versions", versions)
    hint = "fine for a first look; for work, install with SEALWIRE_COMPILE=1, or take the image"
    return doubtful("versions", versions, hint)


def judge_user(user_id: int) -> Diagnosis:
    """Whether files are looked at as the proxy will see them."""
    if user_id != 0:
        return good("user", f"user id {user_id}")
    hint = "run this as the proxy's user: root may read what that user may not, and owns other files"
    return doubtful("user", "user id 0, root", hint)


def judge_clock(state: int | None) -> Diagnosis:
    """Whether something keeps the clock right; `state` is of adjtimex(2), None without an answer."""
    if state is None or state < 0:
        return unseen("clock", "the system does not say whether something keeps the clock right")
    if state != _TIME_ERROR:
        return good("clock", "kept right by a time service")
    hint = "run chrony or systemd-timesyncd: certificates, leases and the audit log go by the clock"
    return doubtful("clock", "nothing keeps the clock right", hint)


def judge_swap(swaps: str | None) -> Diagnosis:
    """Whether memory, and keys with it, may reach a disk; `swaps` is /proc/swaps."""
    if swaps is None:
        return unseen("swap", f"{_SWAPS} cannot be read")
    places = [line.split()[0] for line in swaps.splitlines()[1:] if line.strip()]
    on_disk = [place for place in places if not place.startswith("/dev/zram")]
    if not on_disk:
        return good("swap", "none on a disk")
    hint = "MemorySwapMax=0 in the unit, memswap_limit of the container (deploy/ has both), or encrypted swap"
    return doubtful("swap", f"memory can reach {', '.join(on_disk)}", hint)


def judge_dumps(limit: int, pattern: str | None) -> Diagnosis:
    """Whether a crash writes memory to a disk; `limit` is of RLIMIT_CORE, `pattern` the kernel's."""
    pattern = (pattern or "").strip()
    # a pipe gets the memory whatever the limit is, unless that is 1
    if limit == 0 and not pattern.startswith("|"):
        return good("core dumps", "off in this shell")
    hint = "LimitCORE=0 in the unit (as deploy/systemd has it), and Storage=none in coredump.conf"
    where = "a program of the system gets" if pattern.startswith("|") else "a file gets"
    return doubtful("core dumps", f"{where} the memory of a process that crashes, and keys with it", hint)


def _clock_state() -> int | None:
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    return int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


# Where a proxy listens, writes and reads: ports, room on disks, and who else may write there.

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
    paths = (config.audit.place.path, *config.audit.place.checkpoints)
    for folder in dict.fromkeys(path.absolute().parent for path in paths):
        try:
            free = shutil.disk_usage(folder).free
        except OSError:  # that it is missing is said of the log
            continue
        yield judge_room(folder, free)


def judge_room(folder: Path, free: int) -> Diagnosis:
    """Whether `free` bytes are enough for what is written to `folder`."""
    about, text = f"room in {folder}", f"{free >> 20} MiB are free"
    hint = "make room, or move audit.path: what cannot be recorded is not served (audit.when_full)"
    if free < LEAST_BYTES:
        return wrong(about, text, hint)
    return doubtful(about, text, hint) if free < FEW_BYTES else good(about, text)


# Everything, one after the other; what is wrong with one thing keeps no other from being looked at.

_FIRST = "look at it again when what is wrong above is mended"


def examine(path: Path, environ: Mapping[str, str], uri_file: Path | None = None) -> Iterator[Diagnosis]:
    """The host, then the configuration at `path` and all that it names, the servers last.

    `uri_file` names a user who may look for plaintext that is stored.

    Raises nothing that a start ends with. Cost: that of a start; each server is connected to once.
    """
    yield from look_at_host()
    read: list[Config] = []
    found: list[Finding] = []

    def configuration() -> str:
        read.append(load_telling(path, environ, found.extend))
        return f"{path}: complete"

    diagnoses = tried("configuration", configuration)
    for finding in found:  # first: they may be why it cannot be read
        yield of_finding(finding.event, finding)
    yield from diagnoses
    if not read:
        yield unseen("what the configuration names", _FIRST)
        return
    config = read[0]
    yield from look_at_sources(path, config)
    yield from look_at_folders(path, config)
    yield from look_at_ports(config)
    yield from look_at_room(config)
    yield from _look_at_audit(config.audit)
    yield from _look_at_parts(config, environ, uri_file)


def _look_at_audit(settings: AuditSettings | None) -> Sequence[Diagnosis]:
    if settings is None:
        hint = "name a file in audit.path, and a key that signs it (docs/operations/audit.md)"
        return [doubtful("audit log", "lines go into the log, and nothing is signed", hint)]

    def look() -> str:
        check_audit(settings)
        command_audit(settings)
        return f"{settings.place.path}: can be written" + (
            "" if settings.key else ", without a key that signs"
        )

    return tried("audit log", look)


def _look_at_parts(config: Config, environ: Mapping[str, str], uri_file: Path | None) -> Iterator[Diagnosis]:
    """Policy and certificates, each by itself, then the keys, which need them, then the servers."""
    parts = [
        *tried("policy", lambda: _policy_text(read_policy(config.policy).rules)),
        *tried("certificates for clients", lambda: _tls_text(listen_side(config.listen_tls).not_after)),
        *tried(
            "certificates for the server", lambda: _tls_text(upstream_side(config.upstream_tls).not_after)
        ),
    ]
    yield from parts
    if any(part.grade is Grade.WRONG for part in parts):
        yield unseen("keys and servers", _FIRST)
        return
    loaded: list[Loaded] = []

    def keys() -> str:
        loaded.append(load(config, lambda: config, environ))
        return f"{config.keyring}: opens, and has a key for each class of the policy"

    yield from tried("keys", keys)
    if loaded:
        yield from _look_at_servers(loaded[0], uri_file)
    else:
        yield unseen("servers", _FIRST)


def _policy_text(rules: PolicySet) -> str:
    text = f"{len(rules.classes)} classes"
    return f"{text} that are enforced; the rest is only observed" if rules.unprotected else text


def _tls_text(not_after: object) -> str:
    return "none named" if not_after is None else f"good until {not_after}"


def _look_at_servers(loaded: Loaded, uri_file: Path | None) -> Iterator[Diagnosis]:
    """What `serve --check` finds. Whether the audit log can be written has been said."""
    config = loaded.config
    seeds = [] if config.discovery is None else [str(config.discovery.seeds)]
    where = ", ".join([*seeds, *(str(member.upstream) for member in config.members)])
    secured = "with TLS" if config.upstream_tls.mode is TlsMode.TLS else "without TLS"
    found: list[Finding] = []

    def servers() -> str:
        found.extend(check(replace(loaded, config=replace(config, audit=None)), uri_file))
        return f"{where}: answer {secured}" if config.probe else f"{where}: not asked, as upstream.probe says"

    yield from tried("servers", servers)
    for finding in found:
        yield of_finding(finding.event, finding)


def good(about: str, text: str) -> Diagnosis:
    """All is well."""
    return Diagnosis(about, Grade.GOOD, text)


def doubtful(about: str, text: str, hint: str) -> Diagnosis:
    """Somebody should know."""
    return Diagnosis(about, Grade.DOUBTFUL, text, hint)


def wrong(about: str, text: str, hint: str) -> Diagnosis:
    """Something has to be done."""
    return Diagnosis(about, Grade.WRONG, text, hint)


def unseen(about: str, text: str) -> Diagnosis:
    """Another thing has to be mended first."""
    return Diagnosis(about, Grade.UNSEEN, text)


def of_finding(about: str, finding: Finding) -> Diagnosis:
    """What a start would warn of."""
    return doubtful(about, finding.problem, finding.hint)


def tried(about: str, look: Callable[[], str]) -> list[Diagnosis]:
    """What `look` says, or the error that ends it, with its others: those of a start, and no other error."""
    try:
        return [good(about, look())]
    except (AuditError, KeysError, ServerError) as error:
        return [Diagnosis(about, Grade.WRONG, str(error), error.hint, error.reason.value)]
    except SelfTestFailed as error:
        return [wrong(about, str(error), error.hint)]
    except SourceError as error:
        return [wrong(about, str(each), each.hint) for each in (error, *error.others)]
    except OSError as error:  # a folder on the way that this user may not look into
        text = f"{error.filename}: {os.strerror(error.errno or 0)}"
        return [wrong(about, text, f"let user id {os.geteuid()} look into the folders above it")]
