"""Types of what a person says of detectors, as Prefect's form shows them."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from samcore.detectors.detector import DETECTORS
from samcore.prompts.file import MAX_LABEL_CHARS
from samcore.text import keeps_one_line

_Listed = [
    name
    for entry in DETECTORS
    for name in ([f"{entry.name}:{one}" for one in entry.choices] or [entry.form])
    if entry.choices or not entry.takes
]
_More = [entry.name for entry in DETECTORS if entry.takes]
DetectorName = Annotated[str, Field(json_schema_extra={"enum": _Listed})]
DetectorWith = Annotated[
    str,
    Field(title="With a file or model", json_schema_extra={"pattern": f"^({'|'.join(_More)}):.+"}),
]
# The form shows them to choose from; the line on a wrong name is the registry's.


def _split_words(given: object) -> object:
    """`person,car` on a command line, or a list."""
    return tuple(given.split(",")) if isinstance(given, str) else given


def _clean_word(word: str) -> str:
    word = " ".join(word.split())
    if not word or len(word) > MAX_LABEL_CHARS or not keeps_one_line(word):
        raise ValueError(f"wanted words of at most {MAX_LABEL_CHARS} characters each")
    return word


Words = Annotated[
    tuple[Annotated[str, BeforeValidator(_clean_word)], ...], BeforeValidator(_split_words)
]
_MOST_EVERY = 100_000


def _check_every(given: object) -> object:
    digits = given.isascii() and given.isdigit() if isinstance(given, str) else False
    number = int(given) if isinstance(given, str) and digits and len(given) < 9 else given
    is_number = isinstance(number, int) and 1 <= number <= _MOST_EVERY
    if number != "cuts" and not is_number:
        raise ValueError(f"wanted a number of frames from 1 to {_MOST_EVERY}, or cuts")
    return number


Every = Annotated[
    Annotated[int, Field(ge=1, le=_MOST_EVERY, title="frames")] | Literal["cuts"],
    BeforeValidator(_check_every),
]
