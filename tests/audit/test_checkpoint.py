"""Checkpoints: their form, whose they are, and files of them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sealwire.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint, split_notes
from sealwire.audit.signing import make_key

NAME = "clinic.example/sealwire"
KEY = make_key(NAME, b"k" * 32)
OTHER = make_key(NAME, b"o" * 32)
ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CHECKPOINT = Checkpoint(1234, bytes(range(32)), datetime(2026, 11, 27, 4, 5, 6, 789000, UTC))
NOTE = sign_checkpoint(CHECKPOINT, KEY)


def test_the_form_of_a_checkpoint() -> None:
    assert NOTE.decode().split("\n")[:-2] == [
        "clinic.example/sealwire",
        "1234",
        ROOT,
        "time 2026-11-27T04:05:06.789+00:00",
        "",
    ]
    assert open_checkpoint(NOTE, KEY.verification) == CHECKPOINT


def test_a_checkpoint_of_another_key_is_none() -> None:
    assert open_checkpoint(NOTE, OTHER.verification) is None
    assert open_checkpoint(NOTE, make_key("else", b"k" * 32).verification) is None


@pytest.mark.parametrize(
    "text",
    [
        f"other\n1\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n01\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n-1\n{ROOT}\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\nAAEC\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\n!!!\ntime 2026-11-27T04:05:06+00:00\n",
        f"{NAME}\n1\n{ROOT}\ntime yesterday\n",
        f"{NAME}\n1\n{ROOT}\ntime 2026-11-27T04:05:06\n",
        f"{NAME}\n1\n{ROOT}\nelse x\n",
        f"{NAME}\n1\n{ROOT}\n",
        "\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint(text: str) -> None:
    assert open_checkpoint(KEY.sign(text), KEY.verification) is None


def test_a_file_of_checkpoints_is_split_into_them() -> None:
    notes = [sign_checkpoint(replace(CHECKPOINT, size=size), KEY) for size in range(4)]
    assert list(split_notes(b"".join(notes), NAME)) == notes
    assert list(split_notes(b"", NAME)) == []


def test_what_is_cut_off_spoils_no_other() -> None:
    for cut in range(2, len(NOTE)):
        content = NOTE + NOTE[:-cut] + b"\n" + NOTE
        found = list(split_notes(content, NAME))
        assert b"".join(found) == content
        opened = [open_checkpoint(each, KEY.verification) for each in found]
        assert (opened[0], opened[-1]) == (CHECKPOINT, CHECKPOINT)
        assert not any(opened[1:-1])


def test_a_flood_of_lines_is_cut_into_pieces() -> None:
    pieces = list(split_notes(b"x\n" * 1000, NAME))
    assert max(piece.count(b"\n") for piece in pieces) == 32
    assert b"".join(pieces) == b"x\n" * 1000
