"""What the page of the admin address shows of the watch: its alerts and incidents, read from its file.

The proxy and the watch do not know each other; the command line, which starts the one and the other, does.
"""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.proxy.server.page.panels import MAX_ALERTS, WatchedAlert, WatchedIncident, WatchedNow
from sealwire.sidecars.detection.alerts import Alert, Alerts
from sealwire.sidecars.detection.breach_form import about
from sealwire.sidecars.detection.commands import PRESSING, left_text
from sealwire.sidecars.detection.incidents import DeadlineStage, Incident, IncidentBook
from sealwire.sidecars.detection.rules import load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import SidecarError


def read_watch(config: Path) -> WatchedNow:
    """What the watch with these rules has to tell. Raises nothing: what is wrong is told in its place.

    Cost: some milliseconds; while the watch writes, up to the ten seconds that its file is waited for
    """
    try:
        settings = load_watch_settings(config)
        if not settings.state.exists():
            return WatchedNow(
                problem="it has not begun", hint=f"Start `sealwire watch {config}` as the proxy's user."
            )
        with closing(StateFile(settings.state)) as state:
            now = datetime.now(UTC)
            found = Alerts(state).latest(MAX_ALERTS, only_open=True)
            incidents = IncidentBook(state).incidents(also_closed=False)
            return WatchedNow(tuple(map(_alert, found)), tuple(_incident(each, now) for each in incidents))
    except (SidecarError, KeysError, SourceError) as error:
        return WatchedNow(problem=str(error), hint=error.hint)


def _alert(alert: Alert) -> WatchedAlert:
    incident = "" if alert.incident is None else f"i{alert.incident}"
    words = (alert.id, alert.rule.value, alert.urgency.value, alert.first[:19].replace("T", " "))
    return WatchedAlert(*words, alert.amount, about(alert), incident)


def _incident(incident: Incident, now: datetime) -> WatchedIncident:
    stage = incident.stage(now)
    left = "" if stage is DeadlineStage.STOPPED else left_text(incident, now)
    taken_by = incident.acknowledged or ""
    return WatchedIncident(
        incident.id, incident.title, incident.state.value, left, stage in PRESSING, taken_by
    )
