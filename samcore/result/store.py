"""What a published result is to those who read it or add to it, wherever it lies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Generic, NamedTuple

from samcore.disk.files import FileRecord
from samcore.errors import InputError, StorageError
from samcore.exports.source import ExportSource
from samcore.masks.ledger import ResultObject
from samcore.result.manifest import MANIFEST, MASKS, M, Manifest
from samcore.result.reader import result_masklets, result_objects


class Link(NamedTuple):
    """What a browser can open."""

    url: str
    """`file:` or `https:`."""
    lasts_s: int | None
    """Seconds that it is good for, for everyone who has it; None if it lasts and opens nothing that
    the person may not read anyway."""


class ResultStore(ABC, Generic[M]):
    """One destination: a folder, or a prefix in a bucket; for one kind of results.

    A result is its manifest and the files that the manifest lists; files that are not listed are
    not part of it. Every method may be called again after it failed half way.

    Two questions can be asked about the files, and they cost differently:

        listed    each file is there, in the size that the manifest names     no byte is read
        intact    each file has the very bytes that the manifest names        all bytes are read

    A process asks the second one once, when it begins to rely on a result that it did not make
    itself, and the first one afterwards.
    """

    location: str
    """The destination as a person gives it: an absolute path, or an `s3://` address."""

    @abstractmethod
    def published_key(self) -> str | None:
        """The key of the result that lies there, whole or not; None if none does.

        A manifest that this version cannot read has the key ""; no run replaces it unasked.

        Raises:
            StorageError: The destination cannot be read.
        """

    @abstractmethod
    def read_manifest(self, key: str | None = None) -> M | None:
        """The manifest of a result that is intact; None if there is none.

        Args:
            key: Only of the run with this key; None is whichever there is.

        Raises:
            StorageError: The destination cannot be read.
        """

    @abstractmethod
    def listed(self, key: str | None = None) -> M | None:
        """The manifest of a result whose files are all listed; None if there is none.

        Args:
            key: As in `read_manifest`.

        Raises:
            StorageError: The destination cannot be read.
        """

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """One file of the result on this machine. What is downloaded for it is checked to be
        intact; what lies in a folder is checked to be there in its size.

        Args:
            name: As the manifest lists it. The file is not the caller's to change.

        Raises:
            StorageError: There is no result, it does not list this file, or it is damaged.
        """

    @abstractmethod
    def workspace(self) -> AbstractContextManager[Path]:
        """An empty folder to make files in that `add_files` or `publish` then takes.

        It is where taking them costs least, and gone with all that is left in it after the block.

        Raises:
            StorageError: It cannot be made.
        """

    @abstractmethod
    def publish(
        self, files: Mapping[str, Path], manifest: M, *, check: Callable[[str | None], None]
    ) -> M:
        """Replace whatever lies there by this result; the manifest comes last.

        Args:
            files: What the manifest lists, by name. Files in a workspace are moved away.
            manifest: Of the new result.
            check: Called with `published_key()` once no other publisher can get in between;
                raises if that result is not to be replaced.

        Returns:
            The manifest that lies there now: this one, or that of the same run, had another process
            published it meanwhile.

        Raises:
            StorageError: The destination cannot be written to, or other publishers interfere.
        """

    @abstractmethod
    def add_files(self, files: Mapping[str, Path], key: str) -> M:
        """Add files to the published result, or replace files of it; the manifest comes last.

        Several processes may do so at once. Who reads meanwhile sees the result with all of these
        files or without them.

        Args:
            files: Where each file lies on this machine, by the name that it gets in the result,
                such as `overlay.mp4` or `exports/coco-video/annotations.json`. Files in a
                workspace are moved away, others are copied.
            key: Of the result that they belong to.

        Returns:
            The manifest with these files.

        Raises:
            StorageError: The result of this run is not there, or cannot be written to.
            ValueError: A name would leave the destination or hide a file of Longtake's own.
        """

    @abstractmethod
    def address(self, name: str) -> str:
        """Where a file of the result is, for people: a path or an `s3://` address."""

    @abstractmethod
    def link(self, name: str) -> "Link":
        """What a browser can open to see a file of the result.

        Raises:
            StorageError: There are no credentials to make one with.
        """

    def objects(self, manifest: Manifest) -> tuple[ResultObject, ...]:
        """All objects of a result, by ascending id: its ledger; of versions that published none,
        one made from its masks.

        Raises:
            StorageError: The result is gone or damaged.
        """
        return result_objects(manifest, self.fetch)

    def masklets(self, manifest: Manifest) -> ExportSource:
        """What writers need to know of a result.

        Raises:
            StorageError: The result is gone or damaged.
        """
        return result_masklets(manifest, self.objects(manifest), self.fetch(MASKS))

    def require(self, named: str) -> M:
        """The manifest of a result that is intact.

        Args:
            named: The result as a person named it.

        Raises:
            InputError: There is no finished result.
            StorageError: A file of it is damaged or gone; in a folder, which is said.
        """
        manifest = self.read_manifest()
        if manifest is None:
            raise InputError(
                f"there is no whole result in {named}: wanted the folder or address that "
                f"`longtake track -o` was given, with a {MANIFEST} and all files that it lists"
            )
        return manifest

    def open_masklets(
        self: "ResultStore[Manifest]", named: str, *, whole: bool
    ) -> tuple[Manifest, ExportSource]:
        """The manifest and the masks of a result, for writers of other formats.

        Args:
            named: The result as a person named it.
            whole: Whether all of it must be intact, as when something is to be added; in a folder
                intact masks do otherwise.

        Raises:
            InputError: There is no finished result.
            StorageError: A file of it is damaged or gone.
        """
        manifest = self.require(named)
        return manifest, self.masklets(manifest)

    def record_of(self, name: str) -> FileRecord:
        """What the manifest says of a file.

        Raises:
            StorageError: There is no whole result, or it does not list this file.
        """
        manifest = self.listed()
        if manifest is None:
            raise StorageError(f"there is no whole result in {self.location}; run again")
        for record in manifest.files:
            if record.name == name:
                return record
        listed = ", ".join(record.name for record in manifest.files)
        raise StorageError(f"the result in {self.location} has no {name}; it has {listed}")


def check_name(name: str) -> str:
    """A file's name in a result, as it is.

    Raises:
        ValueError: It is no plain relative path, begins with a dot, or is the manifest's.
    """
    path = PurePosixPath(name)
    plain = name and str(path) == name and not path.is_absolute() and "\\" not in name
    if (
        not plain
        or not name.isprintable()
        or any(part.startswith(".") for part in path.parts)
        or name == MANIFEST
    ):
        raise ValueError(
            f"wanted a plain file name such as exports/coco/annotations.json, got {name!r}"
        )
    return name


def is_plain_name(name: str) -> bool:
    """Whether a manifest, which anybody may have written, lists a file under a plain name."""
    try:
        check_name(name)
    except ValueError:
        return False
    return True
