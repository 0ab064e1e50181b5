"""Models on the Hugging Face hub: the door to the package `huggingface_hub`.

Its own settings hold: `HF_HOME` and `HF_HUB_CACHE` say where models are kept, `HF_HUB_OFFLINE=1`
forbids the network, `HF_TOKEN` or `hf auth login` say who asks, `HF_ENDPOINT` names another hub.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcore.errors import ModelError, StorageError
from samcore.models.transformers.folder import CONFIG
from samcore.models.transformers.names import HubName

if TYPE_CHECKING:
    from typing_extensions import Self

Progress = Callable[[int, int | None], None]

_WANTED = ("*.json", "*.txt", "*.safetensors")
"""No pickles, and no second form of the same weights."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a model, on this machine."""

    folder: Path
    commit: str
    """40 hex digits."""


def is_here(name: HubName) -> bool:
    """Whether a model was downloaded before, as far as that can be seen without the network.

    Imports no HTTP library.
    """
    from huggingface_hub import constants

    kept = Path(constants.HF_HUB_CACHE) / f"models--{name.repo.replace('/', '--')}"
    ref = kept / "refs" / (name.revision or "main")
    commit = ref.read_text().strip() if ref.is_file() else (name.revision or "main")
    return any((kept / "snapshots" / commit).glob("*.safetensors"))


def is_logged_in() -> bool:
    """Whether requests to the hub carry somebody's token."""
    from huggingface_hub import get_token

    return get_token() is not None


def look_up(name: HubName) -> Path:
    """Fetch a model's configuration alone, which shows early whether the model can be had.

    Returns:
        The folder that holds it.

    Raises:
        ModelError: The model cannot be had; the message says why, and what to do.
        StorageError: The configuration cannot be kept.
    """
    return _ask(name, (CONFIG,), None, download=True).folder


def fetch(name: HubName, *, download: bool, on_progress: Progress | None) -> Snapshot:
    """Have a model's files on this machine; those that are here already are not fetched again.

    Args:
        name: Which model. A branch is resolved to a commit once, here.
        download: Whether the network may be used.
        on_progress: Called with the bytes that are here and the total.

    Raises:
        ModelError: The model cannot be had; the message says why, and what to do.
        StorageError: It cannot be kept.
    """
    return _ask(name, _WANTED, on_progress, download=download)


def _ask(
    name: HubName, patterns: tuple[str, ...], on_progress: Progress | None, *, download: bool
) -> Snapshot:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name.repo,
                revision=name.revision,
                allow_patterns=list(patterns),
                local_files_only=not download,
                tqdm_class=_bars(on_progress),
            )
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(_why_not_here(name, error, download=download)) from error
    except HFValidationError as error:
        raise ModelError(
            f"{name.named} is no name of a model on the hub: {_line(error)}"
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(_why_refused(name, error)) from error
    except OSError as error:
        if error.errno is None:
            raise ModelError(f"cannot fetch {name.named} from the hub: {_line(error)}") from error
        raise StorageError(
            f"cannot keep {name.named} in the cache of the hub: {error.strerror}; HF_HOME names "
            "another folder"
        ) from error
    except Exception as error:
        # The HTTP library's, of which there are several from version to version.
        raise ModelError(f"cannot fetch {name.named} from the hub: {_line(error)}") from error
    return Snapshot(folder, folder.name)


def _why_refused(name: HubName, error: Any) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{name.repo}"
    repo = name.named.partition("@")[0]
    status = None if error.response is None else error.response.status_code
    # A gated one is a kind of one that is not found: it comes first.
    if isinstance(error, GatedRepoError):
        if status == 401 or not is_logged_in():
            return (
                f"{name.named} wants you to log in: accept its licence at {page}, then run "
                "`hf auth login`, or set HF_TOKEN"
            )
        return (
            f"{name.named} does not let your account in: accept its licence at {page}, and wait "
            "until access is given"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {name.revision}; see {page}/tree/main"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no {repo} on the hub, or it is private: check the name; for a "
            "private one run `hf auth login`"
        )
    if status == 401:
        return (
            f"the hub does not take your token for {name.named}: run `hf auth login` again, or "
            "unset HF_TOKEN"
        )
    return f"the hub does not give {name.named}: {_line(error)}"


def _why_not_here(name: HubName, error: BaseException, *, download: bool) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not download:
        why = "HF_HUB_OFFLINE is set: unset it" if constants.HF_HUB_OFFLINE else "download it first"
        return (
            f"{name.named} is not on this machine, or not all of it, and {why}, or copy the "
            f"model's folder here and take {name.option}FOLDER"
        )
    cause = error.__cause__ or error
    return (
        f"{name.named} is not on this machine and the hub cannot be reached "
        f"({type(cause).__name__}: {_line(cause)}); check the network, or copy the model's folder "
        f"here and take {name.option}FOLDER"
    )


def _line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return told if len(told) <= 160 else f"{told[:160]} ..."


def _bars(on_progress: Progress | None) -> Any:
    """A class that looks like tqdm's, shows nothing, and tells of the bytes that are written."""

    class Bar:
        _lock: Any = threading.RLock()

        def __init__(self, *_: object, total: int | None = None, **options: Any) -> None:
            # Two bars count bytes: of those from the network, and of those on the disk.
            told = str(options.get("desc", ""))
            self._counts = options.get("unit") == "B" and not told.startswith("Downloading bytes")
            self.total = total
            self.n = 0

        @classmethod
        def get_lock(cls) -> Any:
            return cls._lock

        @classmethod
        def set_lock(cls, lock: Any) -> None:
            cls._lock = lock

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            if self._counts and on_progress is not None:
                on_progress(self.n, self.total or None)

        def __enter__(self) -> "Self":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    return Bar
