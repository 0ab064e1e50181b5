"""What Prefect's form shows to choose from, and how it begins."""

from typing import Annotated, Any

from pydantic import Field

from samcore.chunks.handoff import HANDOFFS
from samcore.exports import FORMATS
from samcore.models.known import KNOWN_MODELS
from samcore.prompts.direction import Direction
from samcore.prompts.form import name_tabs

HandoffName = Annotated[str, Field(json_schema_extra={"enum": list(HANDOFFS.names)})]
# The form shows them to choose from; the line on a wrong name is the registry's.
ModelName = Annotated[str, Field(json_schema_extra={"enum": [one.name for one in KNOWN_MODELS]})]
HubName = Annotated[
    str,
    Field(title="Hugging Face", json_schema_extra={"pattern": "^hf:.+"}),
]

AskedDirection = Annotated[
    Direction,
    Field(
        title="Direction",
        description="Where objects are tracked from their first prompt on: forward to the end, "
        "backward to the beginning, or both. A prompts file can say it for each object.",
    ),
]

# Likewise.
FormatName = Annotated[str, Field(json_schema_extra={"enum": list(FORMATS.names)})]


_VIDEO_FIELDS = ("further_parts", "every", "fps")
"""Of a base class, whose fields would come first."""


def shape_form(schema: dict[str, Any]) -> None:
    """Have the form begin with the tab for typing prompts, and name its other tabs."""
    # Without a default the form begins with its first tab, the one for typing.
    prompts = schema["properties"]["prompts"]
    prompts.pop("default")
    prompts["anyOf"][-1]["title"] = "none"
    schema["properties"]["automatic"]["anyOf"][-1]["title"] = "off"
    name_tabs(schema)


def shape_video_form(schema: dict[str, Any]) -> None:
    """As `shape_form`; which frames are tracked comes where the first and the last one do."""
    fields = schema["properties"]
    ours = {name: fields.pop(name) for name in _VIDEO_FIELDS}
    others = list(fields.items())
    after = [name for name, _ in others].index("stop") + 1
    fields.clear()
    fields.update([*others[:after], *ours.items(), *others[after:]])
    shape_form(schema)
