"""From the fields of a request back to the command line that asks for the same."""

from collections.abc import Iterator
from typing import Any

import typer

from tasks.request.segment_request import SegmentRequest


def track_words(request: SegmentRequest) -> list[str]:
    """The words behind `longtake`: `track`, the video, its options.

    Args:
        request: Whose prompts are a file.

    Raises:
        ValueError: `track` has no option for something that is asked.
    """
    from flows.cli import app  # late: it imports the commands, of which one imports this module

    given = request.model_dump(exclude_defaults=True, exclude={"any_mask_path"})
    given |= given.pop("settings", {})
    constants = given.pop("memory_policy_options", {})
    given["memory_policy_option"] = [f"{name}={value}" for name, value in constants.items()]
    if further := given.pop("further_parts", ()):
        given |= {"source": (given["source"], *further), "join": True}
    command: Any = typer.main.get_command(app)
    words = ["track"]
    for param in command.commands["track"].params:
        value = given.pop(param.name, None)
        words += [] if value is None else _words(param, value)
    if given:
        raise ValueError(f"longtake track has no option for {', '.join(sorted(given))}")
    return words


def _words(param: Any, value: Any) -> Iterator[str]:
    values = value if isinstance(value, list | tuple) else (value,)
    if param.param_type_name == "argument":
        yield from map(str, values)
    elif getattr(param, "is_flag", False):
        names = param.opts if value else param.secondary_opts
        yield from names[-1:]
    else:
        for one in values:
            yield param.opts[-1]
            yield str(one)
