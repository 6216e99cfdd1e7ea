"""The story as JSON, for programs: extended JSON where a value has no plain form."""

from dataclasses import asdict
from typing import Any

from bson import json_util

from sealwire.demo.render import total_ms
from sealwire.demo.stage import Stage
from sealwire.demo.story import Story


def as_json(story: Story, stage: Stage, *, connections: bool) -> str:
    """Everything that `render` shows, and the connection strings where the stage goes on running."""
    document: dict[str, Any] = asdict(story) | {"holds": story.holds}
    document["direct_ms"] = total_ms(story.direct)
    document["sealwire_ms"] = total_ms(story.guarded)
    if connections:
        document["connections"] = {"sealwire": stage.sealwire_uri, "raw": stage.raw_uri}
    return json_util.dumps(document, indent=2, json_options=json_util.RELAXED_JSON_OPTIONS)
