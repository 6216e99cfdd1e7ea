"""First keys: who gets which share in which form, and that nothing is lost on the way."""

import base64
import subprocess
from pathlib import Path

import pytest

from sealwire.keys.errors import AlreadyExists
from sealwire.sidecars.errors import CannotCreate, SetupReason, SidecarError, Unavailable, Unusable
from sealwire.sidecars.vault_setup import initialise
from sealwire.sidecars.vault_setup.initialise import HandOver, Holders, Places, parse_holders
from tests.sidecars.vault_setup.fake_server import FakeSeal
from tests.support.reasons import raising

AGE = "age1" + "q" * 58
# Only what the first packet of a public key begins with is looked at here; the server reads the rest.
PGP_KEY = b"\x99\x01\x0dthe rest of a key"


@pytest.fixture
def age(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for the program: says for whom something was sealed. Its command lines are returned."""
    commands: list[list[str]] = []

    def run(command: list[str], *, input: bytes, **options: object) -> subprocess.CompletedProcess[bytes]:  # noqa: A002
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, b"sealed " + input)

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("subprocess.run", run)
    return commands


@pytest.mark.parametrize(("shares", "threshold"), [(0, 0), (3, 4), (17, 2), (3, 1), (3, 0), (-1, -1)])
def test_numbers_that_protect_nothing_are_refused_first(shares: int, threshold: int) -> None:
    seal = FakeSeal()
    with raising(Unusable, SetupReason.SHARES):
        initialise.initialise(seal, shares, threshold, Holders())
    assert seal.asked == ()


def test_there_is_a_holder_for_each_share() -> None:
    with raising(Unusable, SetupReason.SHARES):
        initialise.check_numbers(3, 2, Holders((AGE,)))


def test_a_server_with_keys_is_left_alone() -> None:
    seal = FakeSeal(initialised=True)
    with raising(Unavailable, SetupReason.ALREADY_INITIALISED):
        initialise.initialise(seal, 3, 2, Holders())
    assert seal.asked == ()


def test_shares_in_clear_are_text_and_no_repr_shows_them() -> None:
    made = initialise.initialise(FakeSeal(), 3, 2, Holders())
    assert made.shares[0] == base64.b64encode(b"share 0")
    assert (made.suffix, made.root_token) == ("", b"root")
    assert "share" not in repr(made).replace("shares", "")
    assert "root" not in repr(made)


def test_pgp_keys_go_to_the_server_and_no_share_comes_in_clear() -> None:
    seal, people = FakeSeal(), Holders(pgp_keys=("a", "b", "c"))
    made = initialise.initialise(seal, 3, 2, people)
    assert seal.asked == (3, 2, ("a", "b", "c"), "a")
    assert made.shares == (b"share 0", b"share 1", b"share 2")
    assert (made.root_token, made.suffix, made.clear_shares) == (b"sealed root", ".pgp", ())


def test_a_root_token_in_clear_is_asked_for() -> None:
    seal = FakeSeal()
    made = initialise.initialise(seal, 1, 1, Holders(pgp_keys=("a",)), clear_root_token=True)
    assert seal.asked == (1, 1, ("a",), None)
    assert made.root_token == b"root"


def test_age_gets_shares_on_its_input_never_in_its_arguments(age: list[list[str]]) -> None:
    made = initialise.initialise(FakeSeal(), 2, 2, Holders((AGE, AGE)))
    assert made.shares[1] == b"sealed " + base64.b64encode(b"share 1")
    assert (made.root_token, made.suffix) == (b"sealed root", ".age")
    assert {tuple(command) for command in age} == {("/usr/bin/age", "--armor", "--recipient", AGE)}


def test_a_recipient_that_age_refuses_is_found_before_any_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/bin/false")
    seal = FakeSeal()
    with raising(CannotCreate, SetupReason.AGE_FAILED):
        initialise.initialise(seal, 1, 1, Holders((AGE,)))
    assert seal.asked == ()


def test_without_age_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with raising(CannotCreate, SetupReason.AGE_MISSING):
        initialise.initialise(FakeSeal(), 1, 1, Holders((AGE,)))


def test_shares_are_given_until_it_is_unsealed_and_no_further() -> None:
    seal = FakeSeal(initialised=True)
    assert not initialise.unseal(seal, ["a", "b", "c"]).sealed
    assert (seal.given, seal.waited) == (["a", "b"], True)


def test_too_few_shares_leave_it_sealed_and_count() -> None:
    seal = FakeSeal(initialised=True)
    status = initialise.unseal(seal, ["a"])
    assert (status.sealed, status.progress, seal.waited) == (True, 1, False)


@pytest.mark.parametrize(
    ("seal", "reason"),
    [(FakeSeal(), SetupReason.NOT_INITIALISED), (FakeSeal(initialised=True), SetupReason.SHARE_REFUSED)],
)
def test_what_cannot_be_unsealed_says_why(seal: FakeSeal, reason: SetupReason) -> None:
    with raising(SidecarError, reason):
        initialise.unseal(seal, ["wrong"])


def test_holders_are_age_recipients_or_files_with_pgp_keys(tmp_path: Path) -> None:
    binary, armoured = tmp_path / "a.pgp", tmp_path / "a.asc"
    binary.write_bytes(PGP_KEY)
    body = base64.encodebytes(PGP_KEY).decode()
    armoured.write_text(
        f"-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\n{body}=abcd\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    key = base64.b64encode(PGP_KEY).decode()
    assert parse_holders([str(binary), str(armoured)]) == Holders(pgp_keys=(key, key))
    assert parse_holders([AGE]) == Holders((AGE,))
    assert parse_holders([]) == Holders()


@pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA", b"\x99" * (256 * 1024 + 1), b"\x85\x01"])
def test_what_is_no_pgp_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with raising(Unusable, SetupReason.HOLDER):
        parse_holders([str(path)])


def test_a_missing_key_and_a_mixture_are_refused(tmp_path: Path) -> None:
    for names in ([str(tmp_path / "none")], [AGE, str(tmp_path / "none")], ["age1bio"]):
        with raising(Unusable, SetupReason.HOLDER):
            parse_holders(names)


# Shares and the root token go where they belong, or are known to be nowhere.

MADE = HandOver((b"one", b"two"), b"token", "", ("one", "two"))


def test_shares_and_token_are_files_of_this_user_only(tmp_path: Path) -> None:
    places = Places(tmp_path / "shares", tmp_path / "token")
    places.prepare()
    assert places.fill(lambda: MADE, print) is MADE
    files = sorted((tmp_path / "shares").iterdir())
    assert [(file.name, file.read_bytes()) for file in files] == [
        ("share-1", b"one\n"),
        ("share-2", b"two\n"),
    ]
    assert (tmp_path / "token").read_bytes() == b"token\n"
    assert {file.stat().st_mode & 0o777 for file in (*files, tmp_path / "token")} == {0o600}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (MADE, ["share-1:\none\n", "share-2:\ntwo\n", "root-token:\ntoken\n"]),
        (HandOver((b"\x01\xff",), b"\x02", ".pgp", ()), ["share-1.pgp:\n01ff\n", "root-token.pgp:\n02\n"]),
    ],
    ids=["in clear", "encrypted, in hexadecimal"],
)
def test_without_files_everything_is_shown_once(made: HandOver, expected: list[str]) -> None:
    shown: list[str] = []
    Places(None, None).fill(lambda: made, shown.append)
    assert shown == expected


def test_a_place_that_is_taken_is_found_before_there_is_anything_to_lose(tmp_path: Path) -> None:
    with raising(CannotCreate, SetupReason.OUTPUT):
        Places(tmp_path, None).prepare()
    (tmp_path / "token").touch()
    with pytest.raises(AlreadyExists):
        Places(tmp_path / "shares", tmp_path / "token").prepare()
    assert not (tmp_path / "shares").exists()


def test_a_server_that_makes_no_keys_leaves_no_directory(tmp_path: Path) -> None:
    def refuse() -> HandOver:
        raise CannotCreate(SetupReason.AGE_FAILED, "no", "none")

    places = Places(tmp_path / "shares", None)
    places.prepare()
    with raising(CannotCreate, SetupReason.AGE_FAILED):
        places.fill(refuse, print)
    assert not (tmp_path / "shares").exists()
