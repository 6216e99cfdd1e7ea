"""The orders of the audit writer survive the command line."""

from pathlib import Path

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.server.audit_writer.destinations import parse_copy
from sealwire.proxy.server.audit_writer.orders import (
    WriterEnds,
    WriterOrders,
    read_log,
    read_orders,
    write_orders,
)
from sealwire.proxy.server.observability.logs import LogFormat


@pytest.mark.parametrize("path", [None, Path("/mnt/a b/ü")])
def test_orders_are_read_as_they_were_written(path: Path | None) -> None:
    place = LogPlace(Path("/var/log/audit.jsonl"), path)
    copies = (parse_copy("stdout"), parse_copy("syslog:udp:[::1]:514"))
    ends = (WriterEnds(3, 4), WriterEnds(5, 6))
    orders = WriterOrders(place, path, LogPace(7, 8.5, 9), ends, copies, "debug", LogFormat.JSON)
    assert read_orders(write_orders(orders)) == orders


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"log": ["loud", "text"]}', '{"log": [1, "text"]}', '{"log": "x"}']
)
def test_orders_that_do_not_say_how_to_log_are_told_of_in_json(text: str) -> None:
    assert read_log(text) == ("info", LogFormat.JSON)
    assert read_log('{"log": ["debug", "text"]}') == ("DEBUG", LogFormat.TEXT)
