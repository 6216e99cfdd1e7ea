"""`sealwire migrate encrypt`, `reencrypt` and `decrypt`: make a job, write it down, and work on it."""

from collections.abc import Callable
from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options, keyring_option
from sealwire.cli.migrate.classes import ClassMove, is_deterministic
from sealwire.cli.migrate.definitions import conversions_of
from sealwire.cli.migrate.options import (
    Effort,
    carry_on,
    delay_option,
    effort_options,
    finish,
    open_keyring,
)
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.policy_options import policy_argument, read_policy
from sealwire.cli.server_options import required_uri, server_options
from sealwire.crypto import selftest
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.errors import DecryptNotConfirmed, MigrationReason
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.planning import (
    RIGHTS,
    make_job,
    move_back,
    moves_for,
    refuse_obstacles,
    select,
)

_wrong_type_option = click.option(
    "--wrong-type",
    type=click.Choice([each.value for each in WrongType]),
    default=WrongType.REFUSE.value,
    show_default=True,
    help="A value that Sealwire would not store: stop there, leave it, or encrypt it where that can be.",
)

ChooseMoves = Callable[[Client, PolicySet], tuple[Move, ...]]


@click.command()
@policy_argument
@click.argument("namespace", required=False)
@click.argument("path", required=False)
@keyring_option
@kek_options
@server_options
@_wrong_type_option
@effort_options
@manner_options
def encrypt(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    namespace: str | None,
    path: str | None,
    keyring: str,
    kek: KekOptions,
    uri: str,
    wrong_type: str,
    effort: Effort,
    manner: Manner,
) -> None:
    """Encrypt the plaintext that is stored in paths of random classes.

    It takes everything that POLICY covers, one collection, or one path. Every Sealwire before the server has
    to use POLICY already: what the application writes meanwhile is encrypted then.

    \b
    Examples:
      sealwire migrate encrypt policy.yaml --keyring keyring.json --uri-file server.uri
      sealwire migrate encrypt policy.yaml clinic.patients notes --keyring keyring.json \\
          --uri-file server.uri --workers 4 --share 0.5
      sealwire migrate encrypt policy.yaml clinic.patients --keyring keyring.json --uri-file server.uri \\
          --wrong-type skip --json
    """

    def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
        chosen = select(covered_collections(client, policies), namespace)
        return moves_for(policies, Direction.ENCRYPT, chosen, path)

    begin = _Begin(Direction.ENCRYPT, WrongType(wrong_type), effort)
    begin.run(read_policy(policy), choose, (keyring, kek, uri), manner)


@click.command()
@policy_argument
@click.argument("class_name", metavar="CLASS")
@keyring_option
@kek_options
@server_options
@delay_option
@effort_options
@manner_options
def reencrypt(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    class_name: str,
    keyring: str,
    kek: KekOptions,
    uri: str,
    delay_s: float,
    effort: Effort,
    manner: Manner,
) -> None:
    """Re-encrypt what older keys of CLASS encrypted with its newest key.

    Every Sealwire before the server has to know the newest key already. Plaintext stays as it is.

    The values of a deterministic class move to its pending key in windows, each of which every Sealwire lets
    go first; so every answer stays exact. One worker does it. At the end the pending key becomes active.

    \b
    Examples:
      sealwire migrate reencrypt policy.yaml notes --keyring keyring.json --uri-file server.uri
      sealwire migrate reencrypt policy.yaml notes --keyring keyring.json --uri-file server.uri --json
    """

    def choose(client: Client, policies: PolicySet) -> tuple[Move, ...]:
        found = covered_collections(client, policies)
        return moves_for(policies, Direction.REENCRYPT, found, class_name=class_name)

    policies = read_policy(policy)
    if is_deterministic(policies, class_name):
        selftest.run()
        ClassMove(policies, class_name, keyring, kek, uri).begin(delay_s, effort, manner)
    begin = _Begin(Direction.REENCRYPT, WrongType.SKIP, effort)
    begin.run(policies, choose, (keyring, kek, uri), manner)


@click.command()
@policy_argument
@click.argument("namespace")
@click.argument("path")
@keyring_option
@kek_options
@server_options
@effort_options
@click.option("--confirm", metavar="NAMESPACE", help="The answer to the question, for scripts.")
@manner_options
def decrypt(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    namespace: str,
    path: str,
    keyring: str,
    kek: KekOptions,
    uri: str,
    effort: Effort,
    confirm: str | None,
    manner: Manner,
) -> None:
    """Put the values of PATH in NAMESPACE back in clear.

    POLICY must not cover the path any more. While another path of the collection is covered the application
    may run: replies are opened all the same. Where none is, stop it first: its replies would hold ciphertext.
    No query may ask for values of the path until `verify` says that no envelope is left.

    \b
    Examples:
      sealwire migrate decrypt policy.yaml clinic.patients notes --keyring keyring.json --uri-file server.uri
      sealwire migrate decrypt policy.yaml clinic.patients notes --keyring keyring.json \\
          --uri-file server.uri --confirm clinic.patients --json
    """

    def choose(_client: Client, policies: PolicySet) -> tuple[Move, ...]:
        move = move_back(policies, namespace, path)
        if not manner.dry_run:
            _confirm(policies, move, confirm)
        return (move,)

    begin = _Begin(Direction.DECRYPT, WrongType.SKIP, effort)
    begin.run(read_policy(policy), choose, (keyring, kek, uri), manner)


def _confirm(policies: PolicySet, move: Move, given: str | None) -> None:
    """Raises DecryptNotConfirmed where the answer is another than the collection's name."""
    if given is None:
        what = f"All values of {move.namespace} {move.path} will lie in the database in clear."
        if policies.covered(move.namespace) is None:
            what += " The policy covers nothing of this collection: its application has to be stopped."
        click.echo(what, err=True)
        given = click.prompt("The collection's name, to go on", err=True)
    if given != move.namespace:
        text = "nothing was decrypted: the answer is not the collection's name"
        raise DecryptNotConfirmed(
            MigrationReason.NOT_CONFIRMED, text, f"answer {move.namespace}, or --confirm it"
        )


class _Begin:
    """A new job of one direction."""

    def __init__(self, direction: Direction, wrong_type: WrongType, effort: Effort) -> None:
        self._direction = direction
        self._wrong_type = wrong_type
        self._effort = effort

    def run(
        self,
        policies: PolicySet,
        choose: ChooseMoves,
        places: tuple[str, KekOptions, str],
        manner: Manner,
    ) -> None:
        """Make the job and work on it; ends the process. `places`: the keyring, its KEK, the server."""
        selftest.run()
        keyring_place, kek, uri = places
        server = required_uri(uri)
        keyring = open_keyring(keyring_place, kek)
        with connected(server, RIGHTS) as client:
            moves = choose(client, policies)
            refuse_obstacles(client, moves)
            conversions_of(client, keyring, self._direction, moves, self._effort.accepted).check()
            for move in moves:
                if move.class_name:
                    keyring.cipher_for(move.class_name)
            ledger = Ledger(client, keyring)
            job = make_job(client, self._direction, moves, self._wrong_type, self._effort.workers)
            if not manner.dry_run:
                ledger.create(job)
                job = carry_on(client, ledger, keyring, job, self._effort)
        finish(job, manner)
