"""Numbers that drivers, servers and the documentation count on. Who changes one changes it here too."""

import pytest

from sealwire.proxy.session import replies
from sealwire.proxy.session.conversation import MAX_BYTES_BEFORE_LOGIN
from sealwire.proxy.session.login.handshake import ACCEPTED_CLIENT_MESSAGE_BYTES, MAX_CLIENT_MESSAGE_BYTES
from sealwire.proxy.session.requests import MAX_AWAITED
from sealwire.proxy.session.revealing.long_reply import WINDOW_BYTES
from sealwire.proxy.session.rewriting.left_out import MAX_BULK_BYTES
from sealwire.proxy.session.rewriting.rewrite import MAX_COMMAND_BYTES
from sealwire.proxy.session.sides.server_side import MAX_ASKED_KEYS
from sealwire.proxy.session.write_errors.merging import MAX_TEXTS


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        (MAX_BYTES_BEFORE_LOGIN, 65_536),
        (MAX_CLIENT_MESSAGE_BYTES, 20_000_000),
        (ACCEPTED_CLIENT_MESSAGE_BYTES, 21_048_576),
        # BSONObjMaxInternalSize of every MongoDB server
        (MAX_COMMAND_BYTES, 16_793_600),
        (MAX_BULK_BYTES, 1_048_576),
        (MAX_TEXTS, 1_048_576),
        (WINDOW_BYTES, 262_144),
        (MAX_AWAITED, 1024),
        (MAX_ASKED_KEYS, 64),
        (replies.MAX_NAME_CHARACTERS, 255),
    ],
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (replies.INTERNAL_ERROR, 1, "InternalError"),
        (replies.UNAUTHORIZED, 13, "Unauthorized"),
        (replies.TYPE_MISMATCH, 14, "TypeMismatch"),
        (replies.AUTHENTICATION_FAILED, 18, "AuthenticationFailed"),
        (replies.KEY_NOT_FOUND, 211, "KeyNotFound"),
        (replies.UNSUPPORTED_OP_QUERY, 352, "UnsupportedOpQueryCommand"),
        (replies.OBJECT_TOO_LARGE, 10334, "BSONObjectTooLarge"),
    ],
)
def test_an_error_has_the_server_s_number_and_name(error: tuple[int, str], code: int, name: str) -> None:
    assert error == (code, name)
