"""What the system says of itself: its clock, memory that reaches disks, and what runs here.

Each function judges what is given to it; `look_at_host` asks the system.
Source: adjtimex(2), proc(5), core(5).
"""

import ctypes
import os
import platform
import resource
import ssl
from collections.abc import Iterator
from pathlib import Path

from sealwire import __version__, core_is_compiled, core_name
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, doubtful, good, unseen

_TIME_ERROR = 5
"""adjtimex(2): nothing keeps the clock right."""
_TIMEX_BYTES = 512
"""More than any kernel's `struct timex`, whose first field, `modes`, is 0: nothing is set."""
_SWAPS = Path("/proc/swaps")
_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


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
