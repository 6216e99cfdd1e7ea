"""One erasure from its plan to its last look."""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sealwire.keys.keyring.record import format_time
from sealwire.sidecars.erasure.changing import Changer, ErasureWay
from sealwire.sidecars.erasure.errors import ErasureReason, ErasureRefused, SubjectMissing
from sealwire.sidecars.erasure.holds import LegalHold, refuse_held
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder
from sealwire.sidecars.erasure.key_shredding import KeyShredder, ShreddedKey
from sealwire.sidecars.erasure.ownership import SharedParts
from sealwire.sidecars.erasure.search import Findings, FoundDocument, PersonSearch

DocumentName = tuple[str, bytes]
"""Namespace and identity."""

_ROUNDS = 3
"""Looks at what came meanwhile, before the application has the last word."""


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What came of it."""

    note: ErasureNote
    remaining: dict[str, int]
    """Documents that the last look found, by collection: not erased."""
    keys: tuple[ShreddedKey, ...]
    looked_again: str
    """What the last look was for: `keys` where documents were to stay, `identifier` where a run that was
    killed had erased all of them, else `identifier and links`."""

    @property
    def is_done(self) -> bool:
        """Whether nothing remains."""
        return not self.remaining


class ErasureRun:
    """Carries one order out. The caller holds the lock of the holds."""

    def __init__(  # noqa: PLR0913 - what an erasure works with
        self,
        order: ErasureOrder,
        *,
        search: PersonSearch,
        changer: Changer,
        shredder: KeyShredder | None,
        journal: ErasureJournal,
        holds: Iterable[LegalHold],
        allowed: Container[DocumentName] | None,
    ) -> None:
        """`allowed` are the shared documents of which the operator has said yes; None: all."""
        self._order = order
        self._way = ErasureWay(order.way) if order.way else None
        self._search = search
        self._changer = changer
        self._shredder = shredder
        self._journal = journal
        self._holds = tuple(holds)
        self._allowed = allowed

    def plan(self, now: datetime) -> tuple[ErasureNote, Findings]:
        """What is to be done; changes nothing. `not_allowed` says which shared documents `run` will refuse.

        Raises SubjectMissing; SubjectHeld; ErasureRefused as `PersonSearch.find`, READABLE; as
        `KeyShredder.refuse_shared`, `ErasureJournal.load`.
        """
        self._refuse_held(())
        noted = self._journal.load(self._order)
        findings = self._search.find()
        if noted is None and not findings.size:
            raise SubjectMissing(
                ErasureReason.NOBODY,
                "no document has this identifier",
                "check how it is written; policy coverage shows which paths the class has",
            )
        self._refuse_held(findings.others)
        if self._shredder is not None:
            self._refuse_readable(findings, noted)
            self._shredder.refuse_shared(findings)
        if noted is None:
            noted = ErasureNote(self._order, format_time(now), keys=self._keys(findings))
        else:
            noted = replace(noted, keys={**noted.keys, **self._keys(findings)})
        undecided = sum(parts.undecided for _, _, parts in findings.shared())
        partly = self._partly(findings)
        return noted.with_more(findings.counts(), self._meant(findings), partly, undecided), findings

    def not_allowed(self, findings: Findings) -> list[tuple[str, FoundDocument, SharedParts]]:
        """The shared documents that would be changed, and of which the operator has not said yes."""
        return [
            (namespace, found, parts)
            for namespace, found, parts in findings.shared()
            if self._is_meant(found)
            and self._allowed is not None
            and (namespace, found.identity) not in self._allowed
        ]

    def run(
        self, note: ErasureNote, findings: Findings, now: datetime, tell: Callable[[int], None]
    ) -> ErasureResult:
        """Carry it out, and look again. May be killed at any point, and run again.

        Raises ErasureRefused SHARED for shared documents that are not allowed; as `plan`, for what came
        meanwhile; as `Changer.change` and `KeyShredder.shred`.
        """
        self._refuse(findings)
        self._journal.save(note)
        looked_again = "identifier and links" if findings.size else "identifier"
        found, meant = self._seen(findings)
        partly = self._partly(findings)
        remaining = self._meant(findings)
        for _ in range(_ROUNDS):
            if self._way is None or not remaining:
                break
            self._changer.change(findings, self._way, tell)
            findings = self._search.find(findings.followed, self._changer.replacements.made)
            self._refuse(findings)
            remaining = self._meant(findings)
            more_found, more_meant = self._seen(findings)
            found |= more_found
            meant |= more_meant
        note = note.with_more(Counter(name for name, _ in found), Counter(name for name, _ in meant), partly)
        keys = []
        if not remaining and self._shredder is not None:
            keys = [self._shredder.shred(key_id, name, now) for key_id, name in note.keys.items()]
        if self._way is None:
            looked_again = "keys"
        return ErasureResult(note, remaining, tuple(keys), looked_again)

    def _seen(self, findings: Findings) -> tuple[set[tuple[str, bytes]], set[tuple[str, bytes]]]:
        """Namespace and identity of all documents, and of those that are to be changed."""
        every = [(name, each) for name, found in findings.documents.items() for each in found.values()]
        meant = {(name, each.identity) for name, each in every if self._is_meant(each)}
        return {(name, each.identity) for name, each in every}, meant

    def _is_meant(self, found: FoundDocument) -> bool:
        if self._way is ErasureWay.DELETE:
            return found.shared is None or found.shared.mine > 0
        return self._way is ErasureWay.OVERWRITE and found.values > 0

    def _partly(self, findings: Findings) -> dict[str, int]:
        """How many of the documents that are to be changed stay for somebody else, by collection."""
        return dict(Counter(name for name, found, _ in findings.shared() if self._is_meant(found)))

    def _meant(self, findings: Findings) -> dict[str, int]:
        """How many documents are to be changed, by collection."""
        return dict(sorted(Counter(name for name, _ in self._seen(findings)[1]).items()))

    def _keys(self, findings: Findings) -> dict[bytes, str]:
        return dict(findings.keys) if self._shredder is not None else {}

    def _refuse(self, findings: Findings) -> None:
        refused = len(self.not_allowed(findings))
        if refused:
            raise ErasureRefused(
                ErasureReason.SHARED,
                f"{refused} of the documents are also another person's",
                "--dry-run names them: say yes to each with --shared-document, or to all with --with-shared",
            )
        self._refuse_held(findings.others)

    def _refuse_held(self, others: Collection[str]) -> None:
        refuse_held(self._holds, {self._order.subject, *self._search.aliases, *others})

    def _refuse_readable(self, findings: Findings, noted: ErasureNote | None) -> None:
        has_keys = bool(findings.keys) or (noted is not None and bool(noted.keys))
        if not has_keys:
            raise ErasureRefused(
                ErasureReason.READABLE,
                "no value of this person has a key of its own that could be destroyed",
                "use --delete or --overwrite without --shred; docs/policies.md, keys for contexts",
            )
        if self._way is None and findings.readable:
            raise ErasureRefused(
                ErasureReason.READABLE,
                f"{findings.readable} covered values of this person would stay readable without these keys",
                "add --delete or --overwrite",
            )
