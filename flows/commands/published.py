"""The published result that a command was given, or one line that says what is wrong with it."""

from samcore.errors import InputError
from samcore.result import Result
from samcore.result.manifest import MANIFEST, Manifest
from tasks.results.folder import LocalResults
from tasks.results.store import ResultStore


def whole_result(store: ResultStore, named: str) -> Manifest:
    """The manifest of a result that is all there.

    Args:
        store: Where the result is.
        named: As the person named it.

    Raises:
        InputError: There is no finished result.
        StorageError: A file of it is damaged or gone; which, is said.
    """
    manifest = store.read_manifest()
    if manifest is not None:
        return manifest
    if isinstance(store, LocalResults) and (store.folder / MANIFEST).is_file():
        Result(store.folder).check()  # names the file
    raise InputError(
        f"there is no whole result in {named}: wanted the folder or address that "
        f"`longtake track -o` was given, with a {MANIFEST} and all files that it lists"
    )
