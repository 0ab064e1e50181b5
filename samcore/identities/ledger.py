"""The ledger: which objects were found by detection, what is known of them, and the next id."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

_MAX_LABEL = 200


class Track(BaseModel):
    """An object that a detection began. Numbers of frames count detected frames only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    obj_id: int = Field(ge=1)
    label: str | None
    """What the detector said that it is."""
    source: str | None = None
    """The detector that found it; None if nobody said."""
    first_frame: int = Field(ge=0)
    """The frame of its birth."""
    score: float
    """Of the detection that began it."""
    keep_alive: int
    """Its credit, see `AssociationConfig.keep_alive`."""
    run: int = Field(default=1, ge=0)
    """Frames in a row on which it was matched, up to now."""
    confirmed_at: int | None = Field(default=None, ge=0)
    """The frame on which `run` was long enough; None if it never was."""
    last_occluded: int | None = Field(default=None, ge=0)
    """The last frame on which its mask was empty or blanked; None if it never was."""
    unmatched: int = Field(default=0, ge=0)
    """Frames on which it was not matched; counted while it is young."""
    shared: tuple[tuple[int, int], ...] = ()
    """Older tracks that met what it met, and on how many frames; likewise."""
    vouched: bool = False
    """A person has prompted it since: nothing removes it any more."""


class Ledger(BaseModel):
    """All tracks by ascending id, and the next id. A value: what changes it gives a new one.

    An id comes once: those of removed tracks do not come again. It holds some numbers for each
    object that was found and not removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    next_id: int = Field(default=1, ge=1)
    tracks: tuple[Track, ...] = ()

    @property
    def detected(self) -> frozenset[int]:
        """The tracks that no person has prompted since."""
        return frozenset(track.obj_id for track in self.tracks if not track.vouched)

    def find(self, obj_id: int) -> Track | None:
        """The track with this id, if it is one and not a person's object."""
        return next((track for track in self.tracks if track.obj_id == obj_id), None)

    def reserving(self, obj_ids: Iterable[int]) -> "Ledger":
        """The ledger that gives none of these ids to a track to come."""
        least = max(obj_ids, default=0) + 1
        return self if least <= self.next_id else self.model_copy(update={"next_id": least})

    def vouching(self, obj_id: int) -> "Ledger":
        """The ledger once a person has prompted an object."""
        tracks = [
            track.model_copy(update={"vouched": True}) if track.obj_id == obj_id else track
            for track in self.tracks
        ]
        return self.model_copy(update={"tracks": tuple(tracks)})

    def without(self, obj_id: int) -> "Ledger":
        """The ledger without an object; its id stays taken."""
        kept = tuple(track for track in self.tracks if track.obj_id != obj_id)
        return self.model_copy(update={"tracks": kept})


def plain_label(label: str | None) -> str | None:
    """A label as a state's file can hold it: short, and on one line."""
    if label is None:
        return None
    shown = "".join(letter if letter.isprintable() else " " for letter in label)
    return shown[:_MAX_LABEL]
