"""`sealwire erase verify-receipt`: what a receipt says, and what is none."""

import json
from pathlib import Path

from sealwire.audit.signing import sign_document
from tests.cli.erase.conftest import SIGNER
from tests.cli.runs import Run

CONTENT = {
    "subject": "a" * 32,
    "ways": ["delete"],
    "collections": [{"namespace": "clinic.patients\x1b[2J", "found": 3, "erased": 3}],
}


def test_it_is_shown_to_people_and_programs(run: Run) -> None:
    run("--help")
    Path("receipt").write_bytes(sign_document("erasure-receipt", CONTENT, SIGNER))
    outcome = run("verify-receipt", "receipt", "--key", "audit.key.pub")
    assert outcome.code == 0
    assert "receipt: genuine" in outcome.out
    assert "found=3" in outcome.out
    assert "\x1b" not in outcome.out
    said = json.loads(run("verify-receipt", "receipt", "--key", "audit.key.pub", "--json").out)
    assert said == {"form": "erasure-receipt", **CONTENT}


def test_what_is_none(run: Run) -> None:
    whole = sign_document("erasure-receipt", CONTENT, SIGNER)
    for raw in (
        b"",
        whole.replace(b'"found":3', b'"found":2'),
        sign_document("another", CONTENT, SIGNER),
    ):
        run("--help")
        Path("receipt").write_bytes(raw)
        assert run("verify-receipt", "receipt", "--key", "audit.key.pub").code == 78
    assert run("verify-receipt", "receipt", "--key", "audit.key").code == 65
