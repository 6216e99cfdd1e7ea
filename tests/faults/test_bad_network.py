"""Packets of both sides are late, out of order, doubled and lost: clients see slowness, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pymongo import MongoClient

from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.faults.bad_network import PROXY, SERVER, Weather, bad_network
from tests.faults.scene import POLICY_TEXT, Document, faulty
from tests.support.relay import Relay
from tests.support.secantus import secantus

pytestmark = [*faulty, pytest.mark.slow]

DOCUMENTS = 24
TEXT = "x" * 20_000
"""So that a command has several packets."""


@pytest.mark.parametrize(
    "weather",
    [
        pytest.param(Weather(0.02, 0.0, 0.0, 0.0), id="late"),
        pytest.param(Weather(0.001, 0.02, 0.0, 0.0), id="out of order"),
        pytest.param(Weather(0.001, 0.005, 0.03, 0.02), id="lossy"),
    ],
)
def test_a_bad_network_makes_nothing_but_slow(
    tmp_path: Path, weather: Weather, record_property: Callable[[str, object], None]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY_TEXT)
    wanted = [_patient(number) for number in range(DOCUMENTS)]
    with bad_network(weather) as row:
        with row.server.inside(), secantus(tmp_path) as database:
            host, _, port = database.address.rpartition(":")
            entry = Relay((host, int(port)), SERVER)
            options = ProxyOptions(tmp_path / "sealwire", policy, entry.address, access_control=False)
            with row.proxy.inside(), OpenProxy(options) as proxy, row.client.inside():
                uri = f"mongodb://{PROXY}:{proxy.port}/?directConnection=true"
                with MongoClient[Document](uri) as client:
                    patients = client["clinic"].patients
                    for each in wanted[: DOCUMENTS // 2]:
                        patients.insert_one(each)
                    patients.insert_many(wanted[DOCUMENTS // 2 :])
                    for each in wanted:
                        assert patients.find_one({"nhs_number": each["nhs_number"]}) == each
                    assert list(patients.find().sort("_id").batch_size(7)) == wanted
            entry.close()
            assert b"nhs-1" not in entry.to_server
            assert b"\2_id\0\7\0\0\0id-001\0" in entry.to_server
        for line in row.lines:
            assert line.carried > DOCUMENTS
            assert (line.lost > 0) is (weather.loss > 0)
        text = ", ".join(f"{line.carried} packets carried and {line.lost} lost" for line in row.lines)
        record_property("summary", f"a bad network, before and behind Sealwire: {text}")


class OpenProxy(ProxyProcess):
    """A proxy that clients of other hosts reach."""

    def config(self) -> dict[str, object]:
        listen = {
            "address": f"0.0.0.0:{self.port}",
            "advertise": f"{PROXY}:{self.port}",
            "tls": {"mode": "plaintext"},
        }
        return super().config() | {"listen": listen}


def _patient(number: int) -> Document:
    return {"_id": f"id-{number:03}", "nhs_number": f"nhs-{number}", "notes": TEXT, "clear": TEXT}
