"""A day at the clinic's API: every route, with what goes wrong in a day, told as a list of answers."""

from dataclasses import dataclass, field
from typing import Any

import httpx

NUMBERS = ("9990000026", "9990000034", "9990000042", "9990000018")
PURPOSE = {"Purpose": "direct-care"}
NOBODY = "f" * 24


def patient(number: str, mrn: int, **more: Any) -> dict[str, Any]:
    """What a patient is registered with."""
    return {
        "nhs_number": number,
        "mrn": f"MRN{mrn:07d}",
        "name": "Nia Lloyd",
        "date_of_birth": "1948-07-05",
        "address": {"line1": "1 High Street", "city": "Leeds", "postcode": "ZZ9 9AA"},
        "contacts": [{"kind": "mobile", "phone": "07700900001"}],
        "notes": "Allergic to penicillin.",
        "ward": "renal",
        **more,
    }


@dataclass(slots=True)
class Day:
    """Asks, and remembers the answers; ids are told by the order in which they came."""

    client: httpx.AsyncClient
    answers: list[tuple[str, int, Any]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's body, as the service gave it."""
        said = await self.client.request(method, path, json=body, headers=PURPOSE)
        content = said.json() if said.content else None
        shape = "/".join(self.ids.get(part, part) for part in path.split("/"))
        self.answers.append((f"{method} {shape}", said.status_code, self._without_ids(content)))
        return content

    def _without_ids(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._without_ids(item) for item in value]
        if isinstance(value, dict):
            named = {name: self._without_ids(item) for name, item in value.items()}
            if "id" in value:
                named["id"] = self.ids.setdefault(value["id"], f"#{len(self.ids)}")
            return named
        return value


async def spend(client: httpx.AsyncClient) -> Day:
    """The whole day, on an empty clinic."""
    day = Day(client)
    await day.ask("GET", "/health/ready")
    nia = await _register(day)
    await _search(day)
    await _book(day)
    await _change(day, nia["id"])
    await day.ask("GET", "/wards")
    await day.ask("DELETE", f"/patients/{nia['id']}")
    await day.ask("GET", f"/patients/{nia['id']}")
    await day.ask("POST", "/appointments/search", {"nhs_number": NUMBERS[3]})
    return day


async def _register(day: Day) -> Any:
    nia = await day.ask("POST", "/patients", patient(NUMBERS[0], 1))
    homeless = {"line1": "No fixed address", "city": "Leeds"}
    await day.ask(
        "POST",
        "/patients",
        patient(NUMBERS[1], 2, date_of_birth="1990-02-28", address=homeless, ward=None, notes=None),
    )
    await day.ask("POST", "/patients", patient(NUMBERS[2], 3, contacts=[], date_of_birth="1948-07-06"))
    await day.ask("POST", "/patients", patient(NUMBERS[0], 4))
    await day.ask("POST", "/patients", patient(NUMBERS[3], 3))
    await day.ask("POST", "/patients", patient("9990000027", 5))
    return nia


async def _search(day: Day) -> None:
    await day.ask("POST", "/patients/find", {"nhs_number": "999 000 0034"})
    await day.ask("POST", "/patients/find", {"nhs_number": NUMBERS[3]})
    for wanted in (
        {},
        {"postcode": "ZZ9 9AA"},
        {"phone": "07700900001", "ward": "renal"},
        {"born_from": "1948-07-05", "born_before": "1948-07-06"},
        {"born_from": "1990-01-01", "born_before": "1992-01-01"},
        {"born_from": "1948-07-06"},
        {"born_from": "1900-01-01", "born_before": "2000-01-01"},
        {"limit": 1},
        {"limit": 1_000},
        {"nobody": "knows"},
    ):
        await day.ask("POST", "/patients/search", wanted)
    first = (await day.ask("POST", "/patients/search", {"limit": 1}))[0]["id"]
    rest = await day.ask("POST", "/patients/search", {"after": first})
    assert len(rest) == 2


async def _book(day: Day) -> None:
    visit = {"nhs_number": NUMBERS[0], "visit": "blood test", "at": "2026-03-01T09:30:00+01:00"}
    booked = await day.ask("POST", "/appointments", visit)
    second = await day.ask("POST", "/appointments", visit | {"at": "2026-04-01T09:30:00.123456"})
    await day.ask("POST", "/appointments", visit | {"nhs_number": NUMBERS[3]})
    await day.ask("PATCH", f"/appointments/{booked['id']}", {"status": "attended"})
    await day.ask("PATCH", f"/appointments/{NOBODY}", {"status": "missed"})
    await day.ask("PATCH", f"/appointments/{booked['id']}", {})
    await day.ask("GET", f"/appointments/{booked['id']}")
    await day.ask("POST", "/appointments/search", {"nhs_number": NUMBERS[0], "status": "attended"})
    await day.ask("POST", "/appointments/search", {"at_from": "2026-03-15T00:00:00Z"})
    await day.ask("DELETE", f"/appointments/{second['id']}")
    await day.ask("DELETE", f"/appointments/{second['id']}")


async def _change(day: Day, id_: str) -> None:
    moved = {"address": {"line1": "2 Mill Lane", "city": "Leeds", "postcode": "ZZ1 1AA"}, "notes": None}
    await day.ask("PATCH", f"/patients/{id_}", moved)
    await day.ask("PATCH", f"/patients/{id_}", {"nhs_number": NUMBERS[1]})
    await day.ask("PATCH", f"/patients/{id_}", {"nhs_number": None})
    await day.ask("PATCH", f"/patients/{id_}", {"nhs_number": NUMBERS[3]})
    await day.ask("PATCH", f"/patients/{NOBODY}", {"ward": "renal"})
    await day.ask("POST", "/appointments/search", {"nhs_number": NUMBERS[3]})
    await day.ask("GET", f"/patients/{id_}")
