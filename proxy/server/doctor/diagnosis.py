"""One thing that was looked at, and how it is."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sealwire.audit.errors import AuditError
from sealwire.crypto.errors import SelfTestFailed
from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import Finding


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
