"""Options of the command line that are given as NAME=VALUE, any number of times."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ValidationError

from samcore.errors import InputError
from samcore.prompts.file import shown


def parse_named_values(
    option: str, items: Iterable[str], model: type[BaseModel], names: Sequence[str], such_as: str
) -> dict[str, str]:
    """Read the values of such an option, each checked by itself. Whether they go together is seen
    by the caller, who has all of them.

    Args:
        option: As people give it, such as `--automatic-option`.
        items: What was given.
        model: Has a field for each name, all with defaults.
        names: Those that can be set.
        such_as: An example.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    values: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or name not in names:
            raise InputError(
                f"{option} {shown(item)}; wanted NAME=VALUE, such as {such_as}; the names are "
                f"{', '.join(names)}"
            )
        if name in values:
            raise InputError(f"{option} {shown(item)}: {name} is given twice")
        values[name] = value
        try:
            model.model_validate({name: value})
        except ValidationError as error:
            wrong = [one for one in error.errors(include_url=False) if one["loc"]]
            if not wrong:
                continue
            why = wrong[0]["msg"].lower()
            raise InputError(f"{option} {shown(item)}: {why}") from error
    return values
