"""What a run over pictures writes down: what was asked, what each shard gave, what is published."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from samcore.chunks.plan import Chunk
from samcore.disk.files import FileRecord
from samcore.images.everything import EverythingOptions
from samcore.machine.rung import Rung
from samcore.models.registry import ModelSpec
from samcore.progress import counted
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.file import PromptFile
from samcore.result.manifest import EXPORTS, PICTURES_FORMAT, AnyManifest
from samcore.result.records import Record

PICTURES = "pictures.csv"
"""Of a result: a row for each picture."""
OVERLAYS = "overlays"
"""Folder of a result with a drawn picture for each one."""
MAX_BROKEN = 1_000
"""Broken pictures that a manifest names; all are in `PICTURES`."""


class PictureAsk(Record):
    """What is segmented on a picture: what one of these says, of which one is given."""

    prompts: PromptFile | None = None
    """Objects with boxes, points or masks; the picture is frame 0, and names of masks are absolute
    paths."""
    everything: EverythingOptions | None = None
    """All that the model has a good mask for."""
    detector: AutomaticPrompts | None = None
    """What a detector finds; with texts, what these say."""
    text_detector: AutomaticPrompts | None = None
    """Looks for what the list's own texts say; its own text does not count."""

    def in_words(self) -> str:
        """For people."""
        if self.prompts is not None:
            return f"{counted(len(self.prompts.objects), 'object')} by prompts"
        if self.detector is not None:
            texts = ", ".join(self.detector.text)
            return f"{texts} by {self.detector.detector}" if texts else self.detector.detector
        return "everything" if self.everything is not None else "what the list says"

    @property
    def detectors(self) -> tuple[AutomaticPrompts, ...]:
        """All that detectors are asked for."""
        return tuple(one for one in (self.detector, self.text_detector) if one is not None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        return self.prompts is None and self.everything is None and self.detector is None


class PictureEntry(Record):
    """One picture of the list."""

    place: str
    """Absolute path, or `s3://` address."""
    mark: str
    """`SourceFile.mark`."""
    name: str
    """`SourceFile.name`."""
    stem: str
    """What files that are made of it are called, but for their endings."""
    texts: tuple[str, ...] = ()
    """What to look for on it, in words, in place of what the run asks for."""
    prompts: PromptFile | None = None
    """Its own prompts, as in `PictureAsk`, in place of what the run asks for."""
    fault: str = ""
    """Why it cannot be segmented, where that was seen before."""

    def identity(self) -> str:
        """One line that changes with whatever can change its masks or its name."""
        said = self.model_dump(mode="json", exclude={"place", "fault"}, exclude_defaults=True)
        return json.dumps(said, sort_keys=True)


class PictureRunRecord(Record):
    """`request.json`: what was asked, with everything that was left open now chosen."""

    format: Literal["pictures-1"] = PICTURES_FORMAT
    asked: tuple[str, ...]
    """Files, folders, tables and so on, as they were named."""
    count: int
    """Pictures."""
    entries_digest: str
    """`entries_digest` of the list."""
    entries: FileRecord
    """The list: an entry a line of JSON."""
    ask: PictureAsk
    """What to do with pictures of which the list says nothing."""
    ask_digest: str
    """Changes with the files that it names: masks, and the weights of detectors."""
    model: ModelSpec
    device: str
    """Such as `cuda:0`."""
    dtype: str
    """Such as `bfloat16`."""
    overlay: bool
    """Whether a drawn picture is published for each one."""
    shards: tuple[Chunk, ...]
    """The plan: which places of the list are done in one go."""

    @property
    def result_key(self) -> str:
        """Names the result: equal keys give equal masks, to rounding."""
        return _key_of(
            {
                "format": self.format,
                "entries": self.entries_digest,
                "ask": self.ask_digest,
                "model": self.model.fingerprint,
                "device": self.device.partition(":")[0],
                "dtype": self.dtype,
            }
        )

    @property
    def work_key(self) -> str:
        """Names the work on the way to the result: equal keys give equal shards."""
        plan = [[shard.start, shard.stop] for shard in self.shards]
        return _key_of([self.result_key, self.overlay, plan])


class PictureRecord(Record):
    """What became of one picture."""

    index: int
    """Its place in the list, from 0."""
    height: int = 0
    """Rows; 0 if it could not be read."""
    width: int = 0
    """Columns; likewise."""
    masks: int = 0
    """Masks that are not empty."""
    error: str = ""
    """One line, if it has none because of a fault."""
    notes: tuple[str, ...] = ()
    """What was left out or changed when it was read."""


class ShardRecord(Record):
    """`done.json`: a shard is done. Written last; without it the shard does not exist."""

    index: int
    """Place in the plan, from 0."""
    start: int
    stop: int
    """Places [start, stop) of the list."""
    masks: FileRecord
    """The masks of its pictures."""
    drawn: FileRecord
    """A tar file of drawn pictures."""
    pictures: tuple[PictureRecord, ...]
    """In the list's order."""
    attempts: int
    """How often it was begun."""
    degradations: tuple[str, ...] = ()
    """What was given up to fit into memory."""
    rung: Rung | None = None
    """How it was done at its end; None if as asked."""
    device: str
    seconds: float
    """From the first picture wanted to the last one written."""
    peak_rss_bytes: int
    peak_vram_bytes: int | None
    finished_at: str


class BrokenPicture(Record):
    """A picture without masks because of a fault."""

    name: str
    place: str
    error: str
    """One line."""


class PictureManifest(AnyManifest):
    """The manifest of a result of pictures; its key is `PictureRunRecord.result_key`."""

    format: Literal["pictures-1"] = PICTURES_FORMAT
    request: PictureRunRecord
    pictures: int
    """All of them."""
    masks: int
    """On all of them."""
    broken: int
    """Pictures without masks because of a fault."""
    first_broken: tuple[BrokenPicture, ...]
    """At most `MAX_BROKEN`; all are in `PICTURES`."""
    seconds: float
    """Of all shards together, whatever ran side by side."""
    degradations: tuple[str, ...] = ()
    """What shards gave up to fit into memory."""
    versions: dict[str, str]
    """Of Longtake and what it stands on."""
    finished_at: str
    """ISO 8601, UTC."""

    def is_same(self, other: AnyManifest) -> bool:
        """Whether it is of the same run, with the same outputs."""
        return (
            isinstance(other, PictureManifest)
            and self.key == other.key
            and {file.name for file in self.files} == {file.name for file in other.files}
        )

    @property
    def exports(self) -> tuple[str, ...]:
        """The formats that the masks were written in as well."""
        parts = (file.name.split("/") for file in self.files)
        return tuple(sorted({one[1] for one in parts if one[0] == EXPORTS and len(one) > 2}))


def entries_digest(entries: Sequence[PictureEntry]) -> str:
    """SHA-256 (hex) of a list, as far as masks and their names depend on it."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(entry.identity().encode() + b"\n")
    return digest.hexdigest()


def _key_of(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
