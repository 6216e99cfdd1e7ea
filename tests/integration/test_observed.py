"""A proxy that is watched: figures, slow commands and traces of what pymongo asks, without a value."""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_site
from tests.proxy.server.observability.collector import Collected, collector
from tests.proxy.server.site import Running, serving

pytestmark = pytest.mark.integration

NUMBERS = ("943 476 5919", "401 023 2137")
"""Values of a covered field: they are nowhere but in the client."""
WARD = "taint-ward-7"
"""A value of a field that the policy does not cover: nowhere in what is watched either."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SPOKEN = "taint-comment-words"


@dataclass
class Watched:
    """What was seen of one conversation."""

    figures: str
    lines: list[dict[str, Any]]
    traces: Collected

    def figure(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        pattern = rf"^{name}{re.escape('{' + wanted + '}') if wanted else ''} (\S+)$"
        found = re.search(pattern, self.figures, re.M)
        assert found is not None, (name, labels)
        return float(found[1])


@pytest.fixture(scope="module")
def watched(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One conversation with a proxy that logs every command as slow, and sends traces."""
    with collector() as traces:
        site = new_site(database, tmp_path_factory.mktemp("observed") / "site")
        site.config["log"]["slow_ms"] = 0
        site.config["traces"] = {"endpoint": traces.endpoint}
        with serving(site) as proxy:
            with client_of(proxy) as client:
                converse(client)
            assert traces.came.wait(10)
            figures = page_of(proxy)
            proxy.process.terminate()
            lines = list(proxy.said)
        yield Watched(figures, lines, traces)


def converse(client: MongoClient[Document]) -> None:
    patients = client["clinic"]["patients"]
    patients.insert_many([{"nhs_number": number, "ward": WARD} for number in NUMBERS])
    assert patients.find_one({"nhs_number": NUMBERS[0]}) is not None
    assert patients.count_documents({"ward": WARD}) == 2
    list(patients.find({"nhs_number": NUMBERS[1]}, comment=f"{SPOKEN}; traceparent={PARENT}"))
    with pytest.raises(OperationFailure):
        patients.find_one({"nhs_number": {"$gt": NUMBERS[0]}}, comment={"traceparent": PARENT, "x": SPOKEN})
    client["elsewhere"]["wards"].insert_one({"_id": 1, "name": WARD})
    with pytest.raises(DuplicateKeyError):
        client["elsewhere"]["wards"].insert_one({"_id": 1, "name": WARD})
    with pytest.raises(OperationFailure):
        client["elsewhere"]["wards"].aggregate([{"$match": {"name": {"$in": WARD}}}])


def page_of(proxy: Running) -> str:
    with urllib.request.urlopen(f"http://{proxy.admin}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_commands_are_counted_by_name_and_outcome(watched: Watched) -> None:
    assert watched.figure("sealwire_commands_total", command="insert", outcome="sent") == 3
    assert watched.figure("sealwire_commands_total", command="find", outcome="sent") == 2
    assert watched.figure("sealwire_commands_total", command="find", outcome="refused") == 1
    assert watched.figure("sealwire_commands_total", command="drop", outcome="sent") == 0
    assert watched.figure("sealwire_refusals_total", reason="range") == 1


def test_errors_of_the_server_are_counted_by_name(watched: Watched) -> None:
    assert watched.figure("sealwire_server_errors_total", command="aggregate") == 1
    assert watched.figure("sealwire_server_errors_total", command="insert") == 0
    assert watched.figure("sealwire_write_errors_total", command="insert") == 1
    assert watched.figure("sealwire_write_errors_total", command="update") == 0


def test_values_bytes_and_times_are_counted(watched: Watched) -> None:
    assert watched.figure("sealwire_values_encrypted_total") == 4
    assert watched.figure("sealwire_values_decrypted_total") == 2
    for peer in ("client", "server"):
        for direction in ("received", "sent"):
            assert watched.figure("sealwire_network_bytes_total", peer=peer, direction=direction) > 500
    total = watched.figure("sealwire_command_duration_seconds_sum")
    assert 0 < watched.figure("sealwire_command_added_duration_seconds_sum") < total
    # one in eight, also while every command is timed for its line and its trace
    assert 0 < watched.figure("sealwire_command_duration_seconds_count") < 6


def test_a_slow_command_has_a_line_that_says_where_the_time_went(watched: Watched) -> None:
    slow = [line for line in watched.lines if line["event"] == "slow command"]
    named = {"command": "insert", "namespace": "clinic.patients"}
    (first,) = [line for line in slow if named.items() <= line.items()]
    assert (first["values"], first["decrypted"]) == (2, 0)
    parts = [first[f"{part}_us"] for part in ("planning", "encrypting", "server", "decrypting", "waiting")]
    assert sum(parts) == pytest.approx(first["total_us"], abs=5)
    assert first["encrypting_us"] > 0
    assert first["client"].startswith("127.0.0.1:")


def test_the_clients_trace_goes_on(watched: Watched) -> None:
    (command,) = [
        span for span in watched.traces.spans if span.name == "sealwire find" and not span.status.code
    ]
    assert command.trace_id.hex() == TRACE
    assert command.parent_span_id.hex() == PARENT.split("-")[2]
    parts = {span.name for span in watched.traces.spans if span.parent_span_id == command.span_id}
    assert parts == {"planning", "encrypting", "server", "decrypting"}
    (refused,) = [span for span in watched.traces.spans if span.status.code]
    assert {each.key: each.value.string_value for each in refused.attributes}["sealwire.reason"] == "range"


def test_no_value_and_no_word_of_a_comment_is_in_what_is_watched(watched: Watched) -> None:
    everything = watched.figures + json.dumps(watched.lines)
    everything += "".join(body.decode("latin-1") for body in watched.traces.bodies)
    for taint in (*NUMBERS, WARD, SPOKEN):
        assert taint not in everything
