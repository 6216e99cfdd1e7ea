"""The abort that takes a commit's place."""

from typing import Any

import pytest
from bson import Binary, Int64, Timestamp

from sealwire.proxy.session.moving.abandoned import abort_of
from sealwire.wire.header import request_id_of
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.world import body_of, command

REST: dict[str, Any] = {
    "lsid": {"id": Binary(bytes(16), 4)},
    "txnNumber": Int64(7),
    "autocommit": False,
    "$clusterTime": {"clusterTime": Timestamp(1, 2)},
    "$db": "admin",
}


@pytest.mark.parametrize("flags", [0, 1 << 16])
def test_all_but_the_name_stays_as_it_is(flags: int) -> None:
    commit = command({"commitTransaction": 1, **REST}, 9, flags=flags)
    abort = abort_of(commit, parse_op_msg(commit))
    assert body_of(abort) == {"abortTransaction": 1, **REST}
    assert request_id_of(abort) == 9
    parsed = parse_op_msg(abort)
    assert (parsed.flags, tuple(parsed.sequences)) == (0, ())
