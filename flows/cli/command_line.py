"""From the fields of a request back to the command line that asks for the same."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import typer


def track_words(fields: Mapping[str, Any]) -> list[str]:
    """The words behind `longtake`: `track`, the video, its options.

    Args:
        fields: What `validate_request` is given, as far as `track` has an option for it; `prompts`
            is the name of a file. What is None is left out.

    Raises:
        ValueError: `track` has no option for a field.
    """
    from flows.cli import app  # late: it imports the commands, of which one imports this module

    given = {**fields, **fields.get("settings", {})}
    given.pop("settings", None)
    constants = given.pop("memory_policy_options", None) or {}
    given["memory_policy_option"] = [f"{name}={value}" for name, value in constants.items()]
    command: Any = typer.main.get_command(app)
    words = ["track"]
    for param in command.commands["track"].params:
        value = given.pop(param.name, None)
        words += [] if value is None else _words(param, value)
    if given:
        raise ValueError(f"longtake track has no option for {', '.join(sorted(given))}")
    return words


def _words(param: Any, value: Any) -> Iterator[str]:
    if param.param_type_name == "argument":
        yield _text(value)
    elif getattr(param, "is_flag", False):
        names = param.opts if value else param.secondary_opts
        yield from names[-1:]
    else:
        for one in value if isinstance(value, list | tuple) else (value,):
            yield param.opts[-1]
            yield _text(one)


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)
