"""Figures by name, and how they have changed."""

import pytest

from sealwire.proxy.server.page.panels import COMMANDS, EVERY_S, LastHour, Readings, quantile
from tests.proxy.server.page.pages import METRICS, HandClock

HISTOGRAM = """\
# TYPE sealwire_command_duration_seconds histogram
sealwire_command_duration_seconds_bucket{le="0.001"} 50
sealwire_command_duration_seconds_bucket{le="0.01"} 99
sealwire_command_duration_seconds_bucket{le="+Inf"} 100
sealwire_command_duration_seconds_count 100
sealwire_command_duration_seconds_sum 1
"""


def finds(count: int) -> bytes:
    return f'# TYPE sealwire_commands counter\nsealwire_commands_total{{command="find"}} {count}\n'.encode()


class Source:
    """Figures that a test changes."""

    def __init__(self) -> None:
        self.count = 0

    def render(self) -> bytes:
        return finds(self.count)


def test_figures_are_looked_up_by_name_and_label() -> None:
    readings = Readings(METRICS)
    assert readings.sum(COMMANDS) == 18302 + 2412 + 964 + 531
    assert next(iter(readings.by_label(COMMANDS, "command"))) == "find"
    assert readings.value("sealwire_client_connections") == 12
    assert readings.value("sealwire_missing") is None
    assert readings.value(COMMANDS) is None
    assert readings.by_labels("sealwire_plaintext_values_total", "namespace", "path") == {
        ("clinic.patients", "contacts.phone"): 7.0
    }


def test_a_text_that_is_no_metrics_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^"):
        Readings("sealwire_ready one\n")


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    buckets = Readings(HISTOGRAM).buckets("sealwire_command_duration_seconds")
    assert [quantile(buckets, part) for part in (0.5, 0.51, 0.99, 1.0)] == [0.001, 0.01, 0.01, float("inf")]
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None


def test_rates_are_of_the_last_minute() -> None:
    source, clock = Source(), HandClock()
    hour = LastHour(source.render, clock)
    hour.take()
    assert hour.lately(COMMANDS, Readings(finds(0).decode())) == {}
    for _ in range(8):
        clock.now_s += EVERY_S
        source.count += 150
        readings = hour.take()
    assert hour.lately(COMMANDS, readings) == {"find": 10.0}


def test_a_counter_that_was_begun_anew_is_not_negative() -> None:
    source, clock = Source(), HandClock()
    source.count = 1000
    hour = LastHour(source.render, clock)
    hour.take()
    clock.now_s += 60
    source.count = 30
    assert hour.lately(COMMANDS, hour.take()) == {"find": 0.5}


def test_the_last_hour_is_told_by_minutes() -> None:
    source, clock = Source(), HandClock()
    hour = LastHour(source.render, clock)
    for step in range(400):
        hour.take()
        source.count += step
        clock.now_s += EVERY_S
    minutes = hour.by_minute(COMMANDS)
    assert 59 <= len(minutes) <= 60
    assert list(minutes) == sorted(minutes)


def test_before_anything_was_read_nothing_is_known() -> None:
    hour = LastHour(Source().render, HandClock())
    assert hour.by_minute(COMMANDS) == ()
    assert hour.lately(COMMANDS, Readings()) == {}
    assert hour.reply_time_s(Readings(), 0.5) is None


def test_reply_times_are_those_of_the_last_minute() -> None:
    clock = HandClock()
    hour = LastHour(HISTOGRAM.encode, clock)
    hour.take()
    clock.now_s += 60
    later = HISTOGRAM.replace(" 99", " 109").replace(" 100", " 110")
    assert hour.reply_time_s(Readings(later), 0.5) == 0.01
