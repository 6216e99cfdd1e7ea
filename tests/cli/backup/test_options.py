"""Keys as options: not confused, and never shown."""

import base64
from pathlib import Path

from tests.cli.runs import Run
from tests.keys.samples import KEK_A, KEK_B
from tests.sidecars.backup.samples import local, seal


def test_the_halves_of_a_key_pair_are_not_confused(run: Run, store: Path) -> None:
    seal(local(store))
    assert run("verify", "--key", "public:key.pub").code == 78
    assert run("rekey", "--key", "env:OLD_KEK", "--recipient", "private:key").code == 78


def test_no_output_holds_a_key(run: Run, store: Path) -> None:
    seal(local(store))
    said = "".join(
        outcome.out + outcome.err
        for outcome in (
            run("list"),
            run("list", "--json"),
            run("verify", "--key", "env:OLD_KEK"),
            run("rekey", "--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK"),
        )
    )
    for key in (KEK_A, KEK_B):
        assert base64.b64encode(key).decode() not in said
        assert key.hex() not in said
