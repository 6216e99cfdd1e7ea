"""A pending key is taken back, or not: what the server says of jobs and frontiers, and what a job does."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from pymongo.errors import OperationFailure

from sealwire.cli.groups import keys as command
from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import KeySettingError, UnknownKey
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, TRANSACTION_S, stated_transaction_s
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import KeyringWriter, load_keyring
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.windows import frontiers
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers, transaction_lifetime_s
from tests.integration.migrate.clinics import NHS, Clinic, envelopes, fill, reencryption
from tests.integration.migrate.conftest import TRANSACTIONS_S
from tests.support.reasons import raising

pytestmark = pytest.mark.integration


def cancel(clinic: Clinic, *words: str) -> Result:
    return CliRunner().invoke(command, ["cancel", NHS, *words], env=clinic.environ)


def refused(clinic: Clinic) -> Unusable:
    error = cancel(clinic).exception
    assert isinstance(error, Unusable)
    assert error.reason is MigrationReason.OTHER_MOVE
    assert error.hint
    assert newest(clinic) is KeyState.PENDING
    return error


def newest(clinic: Clinic) -> KeyState:
    return [key for key in clinic.data_keys() if key.class_name == NHS][-1].state


def test_a_key_that_nothing_moves_to_is_cancelled_and_another_one_made(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 30)
        dry = cancel(rotating, "--dry-run", "--json")
        assert json.loads(dry.stdout)["state"] == "retired"
        assert newest(rotating) is KeyState.PENDING
        done = cancel(rotating, "--json")
        assert (done.exit_code, json.loads(done.stdout)["version"]) == (0, 2)
        assert newest(rotating) is KeyState.RETIRED
        assert isinstance(cancel(rotating).exception, KeySettingError)
        error = rotating.refused(*reencryption(rotating))
        assert error.reason is MigrationReason.NOTHING
        rotating.rotate(NHS, pending=True)
        assert rotating.job(*reencryption(rotating))["state"] == "done"
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {3}


def test_one_that_a_job_is_to_move_to_or_has_begun_to_is_not(rotating: Clinic) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    with rotating.database.connect() as client, connected(rotating.database.uri()) as direct:
        fill(rotating, client, 30)
        job = rotating.job(*reencryption(rotating), "--dry-run")
        assert newest(rotating) is KeyState.PENDING
        assert job
        # what a job that was killed has left, before its frontier and after it
        with direct.start_session(causal_consistency=True) as session:
            pending = keyring.pending_cipher_for(NHS)
            assert pending is not None
            MongoFrontiers(direct, session, (keyring.cipher_for(NHS), pending)).begin()
        refused(rotating)
        for new in ("2", None, True, 9):
            client[DATABASE][FRONTIERS].update_one({}, {"$set": {"new": new}})
            refused(rotating)
        # that of the rotation before
        client[DATABASE][FRONTIERS].update_one({}, {"$set": {"new": 1}})
        assert cancel(rotating).exit_code == 0


def test_a_job_that_was_not_carried_on_is_named_and_has_to_be_aborted(rotating: Clinic) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    with rotating.database.connect() as client, connected(rotating.database.uri()) as direct:
        fill(rotating, client, 5)
        now = datetime.now(UTC).replace(microsecond=0)
        other = Move("clinic.patients", "notes", "notes")
        mine = Move("clinic.patients", NHS, NHS)
        for name, move in (("other", other), ("mine", mine)):
            job = Job(name, Direction.REENCRYPT, WrongType.SKIP, (move,), (), now, now)
            Ledger(direct, keyring).create(job)
        assert "mine" in str(refused(rotating))
        done = rotating.migrate("abort", "mine")
        assert done.exit_code == 0, done.output
        assert cancel(rotating).exit_code == 0


def test_a_job_that_begins_in_the_same_moment_goes_before(
    rotating: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    real = turning.cancel

    def cancel_late(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        pending = keyring.pending_cipher_for(NHS)
        assert pending is not None
        with (
            connected(rotating.database.uri()) as direct,
            direct.start_session(causal_consistency=True) as session,
        ):
            MongoFrontiers(direct, session, (keyring.cipher_for(NHS), pending)).begin()
        return done

    monkeypatch.setattr(turning, "cancel", cancel_late)
    refused(rotating)


@pytest.mark.parametrize("times", [0, 1])
def test_a_job_whose_key_is_cancelled_before_it_has_begun_moves_nothing(
    rotating: Clinic, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Before it wrote its frontier, or in the moment in which it did."""
    with rotating.database.connect() as client:
        fill(rotating, client, 30)
        real: Callable[..., Any] = MongoFrontiers.begin if times == 0 else MongoFrontiers._first

        def begin(frontiers: MongoFrontiers) -> Any:
            turning.cancel(KeyringWriter(rotating.keyring, rotating.kek, datetime.now(UTC)), NHS)
            return real(frontiers)

        with monkeypatch.context() as patch:
            patch.setattr(MongoFrontiers, "begin" if times == 0 else "_first", begin)
            error = rotating.refused(*reencryption(rotating))
        assert error.reason is MigrationReason.NOTHING
        assert "keys cancel CLASS --undo" in error.hint
        assert client[DATABASE][FRONTIERS].count_documents({}) == times
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {1}
        assert cancel(rotating, "--undo").exit_code == 0
        (job,) = rotating.jobs()
        resumed = rotating.job("resume", str(rotating.policy_file), job["job"], "--proxies", "0")
        assert resumed["state"] == "done"


def test_a_class_that_does_not_move_has_no_pending_version(rotating: Clinic) -> None:
    keyring = load_keyring(rotating.keyring, rotating.kek)
    assert frontiers.pending_version(keyring, NHS) == 2
    with pytest.raises(KeySettingError):
        frontiers.pending_version(keyring, "notes")
    with pytest.raises(UnknownKey):
        frontiers.pending_version(keyring, "other")


# How long a transaction may last on a server: a job asks it, or its operator says so.


HELLO = {"isWritablePrimary": True}
ROUTER = {"isWritablePrimary": True, "msg": "isdbgrid"}


class PlayedServer:
    """Answers `hello`, and `getParameter` with a document or an error's code."""

    def __init__(self, hello: Mapping[str, Any], said: Mapping[str, Any] | int) -> None:
        self._hello = hello
        self._said = said

    def get_database(self, _name: str, _options: object) -> "PlayedServer":
        return self

    def command(self, command: object, **_options: object) -> Mapping[str, Any]:
        if command == "hello":
            return self._hello
        if isinstance(self._said, int):
            raise OperationFailure("no", self._said)
        return self._said


def lifetime(hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None) -> float:
    return transaction_lifetime_s(cast(Client, PlayedServer(hello, said)), named)


LIMIT = "transactionLifetimeLimitSeconds"


@pytest.mark.parametrize(
    ("hello", "said", "named", "expected"),
    [
        (HELLO, {LIMIT: 90}, None, 90.0),
        (HELLO, {LIMIT: 90}, 30.0, 90.0),
        (HELLO, {LIMIT: 90}, 300.0, 300.0),
        (HELLO, {}, None, TRANSACTION_S),
        (HELLO, {}, 5.0, 5.0),
        (HELLO, {LIMIT: "soon"}, None, TRANSACTION_S),
        (HELLO, 72, None, TRANSACTION_S),
        (HELLO, 59, None, TRANSACTION_S),
        (HELLO, 13, 120.0, 120.0),
        (ROUTER, 72, 120.0, 120.0),
        (ROUTER, {LIMIT: 600}, 120.0, 120.0),
    ],
)
def test_the_longest_that_is_known_counts(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None, expected: float
) -> None:
    assert lifetime(hello, said, named) == expected


@pytest.mark.parametrize(
    ("hello", "said", "named"),
    [
        (HELLO, 13, None),
        (HELLO, 8000, None),
        (ROUTER, 72, None),
        (ROUTER, {LIMIT: 60}, None),
        (HELLO, {LIMIT: 86_401}, None),
        (HELLO, {LIMIT: 86_401}, 60.0),
    ],
)
def test_no_move_begins_where_nobody_can_say_or_it_is_longer_than_a_day(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None
) -> None:
    with raising(Unusable, MigrationReason.LIFETIME):
        lifetime(hello, said, named)


@pytest.mark.parametrize(("words", "expected"), [((), TRANSACTIONS_S), (("--transaction-lifetime", "9"), 9)])
def test_the_frontier_says_which_one_a_job_goes_by(
    rotating: Clinic, words: tuple[str, ...], expected: int
) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        with connected(rotating.database.uri()) as asked:
            assert transaction_lifetime_s(asked, None) == TRANSACTIONS_S
        assert rotating.job(*reencryption(rotating), *words)["state"] == "done"
        found = client[DATABASE][FRONTIERS].find_one({})
        assert found is not None
        assert stated_transaction_s(found) == expected
