"""`sealwire migrate encrypt`, `reencrypt` and `decrypt`: make a job, write it down, and work on it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from sealwire.cli.migrate import options
from sealwire.cli.migrate.classes import (
    ClassMove,
    is_deterministic,
    places_of,
    refuse_encrypting,
    require_count,
)
from sealwire.cli.migrate.definitions import conversions_of, refuse_enforced
from sealwire.cli.options import required_uri
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.crypto import selftest
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import Denied, MigrationReason, Unusable
from sealwire.sidecars.migration import planning
from sealwire.sidecars.migration.contexts import fields_of
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move, moves_of, refuse_contexts

_wrong_type_option = click.option(
    "--wrong-type",
    type=click.Choice([each.value for each in WrongType]),
    default=WrongType.REFUSE.value,
    show_default=True,
    help="A value that Sealwire would not store: stop there, leave it, or encrypt it where that can be.",
)

_in_clear_option = click.option(
    "--in-clear",
    type=click.Choice([WrongType.REFUSE.value, WrongType.SKIP.value]),
    default=WrongType.REFUSE.value,
    show_default=True,
    help="A value of a CLASS that lies in clear before anything moves: stop there, or leave it and go on.",
)
_EVERYTHING = "everything"


# New jobs of `sealwire migrate`: which ones a command is about, made and worked on one after the other.

ChooseMoves = Callable[[Client, PolicySet], tuple[Move, ...]]
Step = Callable[[], Job]


@dataclass(frozen=True, slots=True)
class NewJobs:
    """New jobs of one direction, one after the other."""

    policies: PolicySet
    direction: Direction
    wrong_type: WrongType
    effort: options.Effort
    site: options.Site
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
        options.finish(jobs, self.manner)

    def random(self, choose: ChooseMoves) -> Job:
        """Make a job of random classes and work on it."""
        required_uri(self.site.uri)
        keyring = self.site.keys.load()
        with self.site.connected() as client:
            moves = choose(client, self.policies)
            planning.refuse_obstacles(client, moves, fields_of(self.policies))
            names = [move.namespace for move in moves]
            refuse_enforced(client, self.policies, self.direction, names, is_covered=False)
            conversions_of(client, keyring, self.direction, moves, self.effort.accepted).check()
            for move in moves:
                if move.class_name:
                    keyring.cipher_for(move.class_name)
            ledger = Ledger(client, keyring)
            job = planning.make_job(client, self.direction, moves, self.wrong_type, self.effort.workers)
            if not self.manner.dry_run:
                ledger.create(job)
                job = options.carry_on(client, ledger, keyring, job, self.effort, self.policies)
        return job

    def one_class(self, class_name: str) -> Job:
        """The same of one deterministic class. Raises Unusable CONTEXTS."""
        refuse_contexts(self.policies, class_name, self.direction)
        move = ClassMove(self.policies, class_name, self.direction, self.site, self.effort, self.wrong_type)
        return move.begin(dry_run=self.manner.dry_run)

    def encrypt_all(self) -> Sequence[Step]:
        """First all paths of random classes, then each deterministic class in clear that is stored anywhere.

        Raises Unusable WRONG_TYPE, PROXIES, and what the driver raises.
        """
        classes = self._stored(in_clear=True)
        if classes:
            refuse_encrypting(self.wrong_type)

        def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
            return planning.moves_for(policies, self.direction, covered_collections(client, policies))

        with self.site.connected() as client:
            names = [each.namespace for each in covered_collections(client, self.policies) if each.exists]
        has_random = bool(moves_of(self.policies, names)[0])
        first: list[Step] = [lambda: self.random(choose)] if has_random or not classes else []
        return first + [partial(self.one_class, name) for name in classes]

    def decrypt_all(self) -> tuple[Sequence[Step], Sequence[str]]:
        """Each deterministic class that is not in clear, and their names.

        Raises Unusable NOTHING, PROXIES; KeySettingError CONTEXTS, before any of them moves.
        """
        classes = self._stored(in_clear=False)
        if not classes:
            text = "no deterministic class that is stored anywhere is encrypted"
            hint = "sealwire migrate decrypt POLICY NAMESPACE PATH is for paths of random classes"
            raise Unusable(MigrationReason.NOTHING, text, hint)
        options.require_contexts(self.effort, self.policies, classes)
        return [partial(self.one_class, name) for name in classes], classes

    def confirm(self, text: str, question: str, wanted: str, given: str | None) -> None:
        """Ask, where something is to be done. Raises Denied for another answer than is wanted."""
        if self.manner.dry_run:
            return
        if given is None:
            click.echo(text, err=True)
            given = click.prompt(question, err=True)
        if given != wanted:
            text = f"nothing was decrypted: the answer is not {wanted}"
            raise Denied(MigrationReason.NOT_CONFIRMED, text, f"answer {wanted}, or --confirm it")

    def _stored(self, *, in_clear: bool) -> list[str]:
        keyring = self.site.keys.load()
        plain = set(keyring.plaintext_classes)
        names = [name for name in keyring.active_classes if (name in plain) is in_clear]
        with self.site.connected() as client:
            found = [
                name
                for name in names
                if is_deterministic(self.policies, name) and places_of(client, self.policies, name)
            ]
            for name in found:  # before the first of them moves
                require_count(client, keyring, self.policies.classes[name], self.effort.proxies)
            return found


@click.command()
@policy_argument
@click.argument("what", required=False, metavar="[NAMESPACE|CLASS]")
@click.argument("path", required=False)
@options.site_options
@_wrong_type_option
@options.effort_options
@manner_options
def encrypt(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    what: str | None,
    path: str | None,
    site: options.Site,
    wrong_type: str,
    effort: options.Effort,
    manner: Manner,
) -> None:
    """Encrypt the plaintext that is stored in what POLICY covers.

    It takes the paths of random classes in one collection, or one PATH there; or all paths of one CLASS; or
    everything: these paths, and then each deterministic class that is in clear. Every Sealwire before the
    server has to use POLICY already.

    A deterministic class gets a pending key, if it has none, and its values move to it in windows, each of
    which every Sealwire lets go first. At the end the key becomes active. The first move of a class needs the
    number of Sealwires.

    \b
    Examples:
      sealwire migrate encrypt policy.yaml --keyring keyring.json --uri-file server.uri
      sealwire migrate encrypt policy.yaml clinic.patients notes --keyring keyring.json \\
          --uri-file server.uri --workers 4 --share 0.5
      sealwire migrate encrypt policy.yaml nhs_number --keyring keyring.json --uri-file server.uri \\
          --proxies 2 --wrong-type skip --json
    """
    policies = read_policy(policy)
    begin = NewJobs(policies, Direction.ENCRYPT, WrongType(wrong_type), effort, site, manner)
    if what is None:
        begin.run(begin.encrypt_all())
    class_name = (
        what if path is None and policies.covered(what) is None and what in policies.classes else None
    )
    if class_name is not None and is_deterministic(policies, class_name):
        begin.run([lambda: begin.one_class(class_name)])

    def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
        chosen = planning.select(covered_collections(client, policies), what if class_name is None else None)
        return planning.moves_for(policies, Direction.ENCRYPT, chosen, path, class_name)

    begin.run([lambda: begin.random(choose)])


@click.command()
@policy_argument
@click.argument("class_name", metavar="CLASS")
@options.site_options
@options.effort_options
@manner_options
def reencrypt(
    *,
    policy: Path,
    class_name: str,
    site: options.Site,
    effort: options.Effort,
    manner: Manner,
) -> None:
    """Re-encrypt what older keys of CLASS encrypted with its newest key.

    Every Sealwire before the server has to know the newest key already. Plaintext stays as it is.

    The values of a deterministic class move to its pending key in windows, each of which every Sealwire lets
    go first; so every answer stays exact. At the end the pending key becomes active.

    \b
    Examples:
      sealwire migrate reencrypt policy.yaml notes --keyring keyring.json --uri-file server.uri
      sealwire migrate reencrypt policy.yaml notes --keyring keyring.json --uri-file server.uri --json
    """

    def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
        found = covered_collections(client, policies)
        return planning.moves_for(policies, Direction.REENCRYPT, found, class_name=class_name)

    policies = read_policy(policy)
    begin = NewJobs(policies, Direction.REENCRYPT, WrongType.SKIP, effort, site, manner)
    if is_deterministic(policies, class_name):
        begin.run([lambda: begin.one_class(class_name)])
    begin.run([lambda: begin.random(choose)])


@click.command()
@policy_argument
@click.argument("what", required=False, metavar="[NAMESPACE|CLASS]")
@click.argument("path", required=False)
@options.site_options
@options.effort_options
@_in_clear_option
@click.option("--confirm", "given", metavar="NAME", help="The answer to the question, for scripts.")
@manner_options
def decrypt(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    what: str | None,
    path: str | None,
    site: options.Site,
    effort: options.Effort,
    in_clear: str,
    given: str | None,
    manner: Manner,
) -> None:
    """Put the values of a PATH in NAMESPACE, of a deterministic CLASS, or of all such classes back in clear.

    A PATH is of a random class, and POLICY must not cover it any more. While another path of the collection
    is covered the application may run: replies are opened all the same. Where none is, stop it first: its
    replies would hold ciphertext. No query may ask for values of the path until `verify` says that no
    envelope is left.

    POLICY still covers the paths of a CLASS. Its values move in windows to a pending version that is
    plaintext, and the application gets exact answers throughout. Take the paths out of the policy afterwards.
    Values that lie in clear already were written past Sealwire: they are named by document and path.

    \b
    Examples:
      sealwire migrate decrypt policy.yaml clinic.patients notes --keyring keyring.json --uri-file server.uri
      sealwire migrate decrypt policy.yaml nhs_number --keyring keyring.json --uri-file server.uri \\
          --confirm nhs_number --json
    """
    policies = read_policy(policy)
    of_clear = WrongType.SKIP if path is not None else WrongType(in_clear)
    begin = NewJobs(policies, Direction.DECRYPT, of_clear, effort, site, manner)
    if path is None:
        begin.run(_class_decryptions(begin, policies, what, given))

    def choose(_client: Client, policies: PolicySet) -> tuple[Move, ...]:
        move = planning.move_back(policies, what or "", path or "")
        text = f"All values of {move.namespace} {move.path} will lie in the database in clear."
        if policies.covered(move.namespace) is None:
            text += " The policy covers nothing of this collection: its application has to be stopped."
        begin.confirm(text, "The collection's name, to go on", move.namespace, given)
        return (move,)

    begin.run([lambda: begin.random(choose)])


def _class_decryptions(
    begin: NewJobs, policies: PolicySet, what: str | None, given: str | None
) -> Sequence[Step]:
    """What decrypts a class, or all deterministic ones. Raises Unusable, Denied."""
    if what is None:
        steps, names = begin.decrypt_all()
        text = f"All values of these classes will lie in the database in clear: {', '.join(names)}."
        begin.confirm(text, "The word everything, to go on", _EVERYTHING, given)
        return steps
    if is_deterministic(policies, what):
        text = f"All values of class {what} will lie in the database in clear, in all collections."
        begin.confirm(text, "The class's name, to go on", what, given)
        return [lambda: begin.one_class(what)]
    if what in policies.classes:
        text = f"class {what} is random: its values are decrypted one path after the other"
        hint = "take a path out of the policy; then sealwire migrate decrypt POLICY NAMESPACE PATH"
        raise Unusable(MigrationReason.STILL_COVERED, text, hint)
    text = f"the policy has no class {what}, and no path of a collection is named"
    raise Unusable(MigrationReason.NOT_COVERED, text, "sealwire policy check lists the classes")
