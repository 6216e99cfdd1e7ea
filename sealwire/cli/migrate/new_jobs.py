"""New jobs of `sealwire migrate`: which ones a command is about, made and worked on one after the other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import click

from sealwire.cli.migrate.classes import (
    ClassMove,
    is_deterministic,
    places_of,
    refuse_encrypting,
    require_count,
)
from sealwire.cli.migrate.definitions import conversions_of
from sealwire.cli.migrate.enforced import refuse_enforced
from sealwire.cli.migrate.options import Effort, carry_on, finish_all, open_keyring, require_contexts
from sealwire.cli.options.keys import KekOptions
from sealwire.cli.options.server import required_uri
from sealwire.cli.output import Manner
from sealwire.crypto import selftest
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.contexts import fields_of
from sealwire.sidecars.migration.errors import DecryptNotConfirmed, MigrationReason, MigrationRefused
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move, moves_of, refuse_contexts
from sealwire.sidecars.migration.planning import RIGHTS, make_job, moves_for, refuse_obstacles

ChooseMoves = Callable[[Client, PolicySet], tuple[Move, ...]]
Step = Callable[[], Job]


def confirm(text: str, question: str, wanted: str, given: str | None) -> None:
    """Raises DecryptNotConfirmed where the answer is another one than is wanted."""
    if given is None:
        click.echo(text, err=True)
        given = click.prompt(question, err=True)
    if given != wanted:
        text = f"nothing was decrypted: the answer is not {wanted}"
        raise DecryptNotConfirmed(MigrationReason.NOT_CONFIRMED, text, f"answer {wanted}, or --confirm it")


@dataclass(frozen=True, slots=True)
class NewJobs:
    """New jobs of one direction, one after the other."""

    policies: PolicySet
    direction: Direction
    wrong_type: WrongType
    proxies: int | None
    effort: Effort
    places: tuple[str, KekOptions, str]
    """The keyring, its KEK, the server."""
    manner: Manner

    def __post_init__(self) -> None:
        """Raises SelfTestFailed."""
        selftest.run()

    def run(self, steps: Iterable[Step]) -> NoReturn:
        """Take the steps until one does not end with its job done; ends the process."""
        jobs: list[Job] = []
        for step in steps:
            jobs.append(step())
            if not self.manner.dry_run and jobs[-1].standing is not Standing.DONE:
                break
        finish_all(jobs, self.manner)

    def random(self, choose: ChooseMoves) -> Job:
        """Make a job of random classes and work on it."""
        keyring_place, kek, uri = self.places
        server = required_uri(uri)
        keyring = open_keyring(keyring_place, kek)
        with connected(server, RIGHTS) as client:
            moves = choose(client, self.policies)
            refuse_obstacles(client, moves, fields_of(self.policies))
            names = [move.namespace for move in moves]
            refuse_enforced(client, self.policies, self.direction, names, is_covered=False)
            conversions_of(client, keyring, self.direction, moves, self.effort.accepted).check()
            for move in moves:
                if move.class_name:
                    keyring.cipher_for(move.class_name)
            ledger = Ledger(client, keyring)
            job = make_job(client, self.direction, moves, self.wrong_type, self.effort.workers)
            if not self.manner.dry_run:
                ledger.create(job)
                job = carry_on(client, ledger, keyring, job, self.effort, self.policies)
        return job

    def one_class(self, class_name: str) -> Job:
        """The same of one deterministic class. Raises MigrationRefused CONTEXTS."""
        refuse_contexts(self.policies, class_name, self.direction)
        move = ClassMove(self.policies, class_name, self.direction, *self.places, self.wrong_type)
        return move.begin(self.proxies, self.effort, dry_run=self.manner.dry_run)

    def encrypt_all(self) -> Sequence[Step]:
        """First all paths of random classes, then each deterministic class in clear that is stored anywhere.

        Raises MigrationRefused WRONG_TYPE, PROXIES, and what the driver raises.
        """
        classes = self._stored(in_clear=True)
        if classes:
            refuse_encrypting(self.wrong_type)

        def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
            return moves_for(policies, self.direction, covered_collections(client, policies))

        with connected(required_uri(self.places[2]), RIGHTS) as client:
            names = [each.namespace for each in covered_collections(client, self.policies) if each.exists]
        has_random = bool(moves_of(self.policies, names)[0])
        first: list[Step] = [lambda: self.random(choose)] if has_random or not classes else []
        return first + [partial(self.one_class, name) for name in classes]

    def decrypt_all(self) -> tuple[Sequence[Step], Sequence[str]]:
        """Each deterministic class that is not in clear, and their names.

        Raises MigrationRefused NOTHING, PROXIES; KeySettingError CONTEXTS, before any of them moves.
        """
        classes = self._stored(in_clear=False)
        if not classes:
            text = "no deterministic class that is stored anywhere is encrypted"
            hint = "sealwire migrate decrypt POLICY NAMESPACE PATH is for paths of random classes"
            raise MigrationRefused(MigrationReason.NOTHING, text, hint)
        require_contexts(self.effort, self.policies, classes)
        return [partial(self.one_class, name) for name in classes], classes

    def confirm(self, text: str, question: str, wanted: str, given: str | None) -> None:
        """As `confirm`, where something is to be done."""
        if not self.manner.dry_run:
            confirm(text, question, wanted, given)

    def _stored(self, *, in_clear: bool) -> list[str]:
        keyring_place, kek, uri = self.places
        keyring = open_keyring(keyring_place, kek)
        plain = set(keyring.plaintext_classes)
        names = [name for name in keyring.active_classes if (name in plain) is in_clear]
        with connected(required_uri(uri), RIGHTS) as client:
            found = [
                name
                for name in names
                if is_deterministic(self.policies, name) and places_of(client, self.policies, name)
            ]
            for name in found:  # before the first of them moves
                require_count(client, keyring, self.policies.classes[name], self.proxies)
            return found
