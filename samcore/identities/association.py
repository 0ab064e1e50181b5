"""What a frame's detections say of its tracks: who is matched, born, removed, blanked, anchored.

    sighting meets a track        it is that object, seen again
    sighting meets none           a new object, if its score suffices
    young track, not matched      removed on the 8th such frame: a false alarm
    young track, shares its       removed on the 8th such frame: a duplicate
      sightings with an older one
    two tracks on one place       the one that was hidden later is blanked
    sure sighting of a track      a conditioning frame, from time to time

Tracks and sightings of other labels never meet. An object that a person prompted is never removed,
blanked or anchored; it meets sightings, so that it is not born again. The numbers are those of
`AssociationConfig`, which says where they come from.

Nothing here knows of tensors, chunks or time: the same arguments give the same decisions.
"""

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcore.evaluation.matching import assign
from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import Ledger, Track
from samcore.identities.overlap import exclusive_shares, iou_matrix, rounded
from samcore.identities.sightings import Sighting

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TrackedMask:
    """An object's mask on the frame, as memory or a prompt gives it."""

    obj_id: int
    logits_hw: NDArray[np.float32]
    """Low-resolution logits, above 0 inside; of the size of the sightings' masks."""
    score: float
    """Object-score logit."""


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What becomes of a frame's tracks and sightings."""

    ledger: Ledger
    """After the frame."""
    births: dict[int, Sighting] = field(default_factory=dict)
    """New objects, by their ids."""
    anchors: dict[int, Sighting] = field(default_factory=dict)
    """Tracks for which the frame becomes a conditioning frame, and what was seen of them."""
    removed: frozenset[int] = frozenset()
    """Tracks that were mistakes: they were never there."""
    blanked: frozenset[int] = frozenset()
    """Tracks whose mask is taken for another one's: it is empty, also in memory."""
    hidden: frozenset[int] = frozenset()
    """Tracks that are not shown, but remembered as they are."""


def associate(
    ledger: Ledger,
    config: AssociationConfig,
    frame_idx: int,
    tracks: Sequence[TrackedMask],
    sightings: Sequence[Sighting] | None,
) -> Decisions:
    """Decide on a frame.

    Args:
        ledger: Before the frame; it reserves the ids of all prompted objects.
        config: The constants.
        frame_idx: The frame.
        tracks: All objects that have a mask on it, which may be empty.
        sightings: What was detected on it, best first; None if nobody looked.
    """
    frame = _Frame(ledger, config, frame_idx, tracks)
    if sightings is not None:
        frame.detect(sightings)
    frame.hide()
    return frame.decisions()


def crowded_out(
    ledger: Ledger, config: AssociationConfig, masks: Mapping[int, NDArray[np.float32]]
) -> frozenset[int]:
    """The tracks whose masks go into memory as empty ones: others have nearly all their pixels.

    Args:
        ledger: After the frame; a person's object is none of them.
        config: The constants.
        masks: Logits of all objects that are shown, by id.
    """
    book = _Book(ledger, config)
    crowded: set[int] = set()
    for label in book.labels():
        group = {obj_id: masks[obj_id] for obj_id in masks if book.has_label(obj_id, label)}
        for obj_id, share in exclusive_shares(group).items():
            if not book.is_persons(obj_id) and share < config.exclusive_share:
                crowded.add(obj_id)
    return frozenset(crowded)


class _Book:
    """The ledger while a frame changes it."""

    def __init__(self, ledger: Ledger, config: AssociationConfig) -> None:
        self._labels = config.prompted_labels
        self.tracks = {track.obj_id: track for track in ledger.tracks}
        self.next_id = ledger.next_id

    def is_persons(self, obj_id: int) -> bool:
        """Whether a person has prompted the object."""
        return obj_id not in self.tracks or self.tracks[obj_id].vouched

    def has_label(self, obj_id: int, label: str | None) -> bool:
        """Whether it meets sightings of a label."""
        if obj_id in self.tracks:
            return self.tracks[obj_id].label == label
        return self._labels.get(obj_id, label) == label

    def labels(self) -> list[str | None]:
        """The labels of all tracks, none first."""
        return _in_order(track.label for track in self.tracks.values())

    def age_order(self, obj_id: int) -> tuple[int, int]:
        """Ascending from the oldest; a person's objects are older than any track."""
        if self.is_persons(obj_id):
            return (-1, obj_id)
        return (self.tracks[obj_id].first_frame, obj_id)

    def note(self, obj_id: int, **changes: Any) -> None:
        """Change what is known of a track."""
        self.tracks[obj_id] = self.tracks[obj_id].model_copy(update=changes)

    def ledger(self) -> Ledger:
        """As a value."""
        tracks = tuple(self.tracks[obj_id] for obj_id in sorted(self.tracks))
        return Ledger(next_id=self.next_id, tracks=tracks)


class _Frame:
    """Decisions on one frame, step by step."""

    def __init__(
        self,
        ledger: Ledger,
        config: AssociationConfig,
        frame_idx: int,
        tracks: Sequence[TrackedMask],
    ) -> None:
        self._config = config
        self._frame_idx = frame_idx
        self._book = _Book(ledger, config)
        self._tracks = {track.obj_id: track for track in sorted(tracks, key=lambda t: t.obj_id)}
        self._masks = {obj_id: track.logits_hw > 0 for obj_id, track in self._tracks.items()}
        self._births: dict[int, Sighting] = {}
        self._anchors: dict[int, Sighting] = {}
        self._removed: set[int] = set()
        self._blanked: set[int] = set()

    def detect(self, sightings: Sequence[Sighting]) -> None:
        """Hold the tracks against what was seen, label by label."""
        new: list[int] = []
        labels = _in_order([*self._book.labels(), *(item.label for item in sightings)])
        for label in labels:
            places = [i for i, item in enumerate(sightings) if item.label == label]
            members = [i for i in self._tracks if self._book.has_label(i, label)]
            seen = [sightings[place] for place in places]
            iou_st = iou_matrix(
                [item.mask_hw for item in seen], [self._masks[obj_id] for obj_id in members]
            )
            met_st = iou_st >= self._config.met_iou
            is_new_s = [
                not met_s.any() and item.score >= self._config.birth_score
                for item, met_s in zip(seen, met_st, strict=True)
            ]
            new += [place for place, is_new in zip(places, is_new_s, strict=True) if is_new]
            self._count(members, iou_st, met_st)
            self._anchor(members, seen, iou_st)
        self._give_birth([sightings[place] for place in sorted(new)])

    def hide(self) -> None:
        """Blank tracks that lie on others, and note who cannot be seen."""
        for label in self._book.labels():
            members = [
                i for i in self._tracks if self._book.has_label(i, label) and i not in self._removed
            ]
            masks = [self._masks[obj_id] for obj_id in members]
            is_close_tt = iou_matrix(masks, masks) >= self._config.overlap_iou
            for obj_id, is_close_t in zip(members, is_close_tt, strict=True):
                rivals = [members[place] for place in np.flatnonzero(is_close_t)]
                if any(self._loses(obj_id, rival) for rival in rivals if rival != obj_id):
                    self._blanked.add(obj_id)
        for obj_id, mask_hw in self._masks.items():
            if self._book.is_persons(obj_id) or obj_id in self._removed:
                continue
            if obj_id in self._blanked or not mask_hw.any():
                self._book.note(obj_id, last_occluded=self._frame_idx)
        for obj_id in self._blanked:
            self._anchors.pop(obj_id, None)

    def decisions(self) -> Decisions:
        """All of them."""
        hidden: set[int] = set()
        if self._config.suppress_unmatched:
            mine = [i for i in self._tracks if not self._book.is_persons(i)]
            hidden = {i for i in mine if self._book.tracks[i].keep_alive <= 0}
        for obj_id in self._removed:
            del self._book.tracks[obj_id]
        return Decisions(
            ledger=self._book.ledger(),
            births=self._births,
            anchors=self._anchors,
            removed=frozenset(self._removed),
            blanked=frozenset(self._blanked),
            hidden=frozenset(hidden - self._removed),
        )

    def _count(
        self,
        members: Sequence[int],
        iou_st: NDArray[np.float64],
        met_st: NDArray[np.bool_],
    ) -> None:
        """Count who is matched and who shares; remove young tracks that were mistakes."""
        matched = self._matched(iou_st)
        for place, obj_id in enumerate(members):
            if self._book.is_persons(obj_id):
                continue
            track = self._book.tracks[obj_id]
            is_matched = place in matched
            is_unmatched = not is_matched and bool(self._masks[obj_id].any())
            self._book.note(obj_id, **self._credit(track, is_matched, bool(met_st[:, place].any())))
            if is_unmatched:
                lost = max(-1, self._book.tracks[obj_id].keep_alive - 1)
                self._book.note(obj_id, keep_alive=lost)
            if not self._config.is_young(track.first_frame, self._frame_idx):
                self._book.note(obj_id, unmatched=0, shared=())
                continue
            shared = dict(track.shared)
            for other_place, other in enumerate(members):
                is_older = self._book.age_order(other) < self._book.age_order(obj_id)
                if is_older and (met_st[:, place] & met_st[:, other_place]).any():
                    shared[other] = shared.get(other, 0) + 1
            is_lost = self._config.empty_is_unmatched and not is_matched
            unmatched = track.unmatched + (is_unmatched or is_lost)
            self._book.note(obj_id, unmatched=unmatched, shared=tuple(sorted(shared.items())))
            is_duplicate = max(shared.values(), default=0) >= self._config.max_shared
            if unmatched >= self._config.max_unmatched or is_duplicate:
                self._removed.add(obj_id)

    def _matched(self, iou_st: NDArray[np.float64]) -> set[int]:
        """Places of the tracks that are matched."""
        close_st = np.where(iou_st >= self._config.matched_iou, iou_st, 0.0)
        if self._config.one_to_one:
            pairs = assign(close_st) if close_st.size else {}
            return {place for row, place in pairs.items() if close_st[row, place] > 0}
        return set(np.flatnonzero(close_st.any(axis=0)).tolist())

    def _credit(self, track: Track, is_matched: bool, has_met: bool) -> dict[str, Any]:
        """What a detected frame does to a track's run and credit, but for a loss of it."""
        config = self._config
        run = track.run + 1 if is_matched else 0
        confirmed = track.confirmed_at
        if confirmed is None and config.confirm_frames and run >= config.confirm_frames:
            confirmed = self._frame_idx
        credit = min(config.keep_alive, track.keep_alive + 1) if has_met else track.keep_alive
        return {"run": run, "confirmed_at": confirmed, "keep_alive": credit}

    def _anchor(
        self, members: Sequence[int], seen: Sequence[Sighting], iou_st: NDArray[np.float64]
    ) -> None:
        """Find the tracks that are anchored by a sure sighting; the best one for each."""
        config = self._config
        if not config.reanchors_on(self._frame_idx) or not members:
            return
        for item, iou_t in zip(seen, iou_st, strict=True):
            best = int(iou_t.argmax())
            obj_id = members[best]
            if (
                item.score >= config.reanchor_score
                and iou_t[best] >= config.reanchor_iou
                and rounded(self._tracks[obj_id].score) > config.reanchor_logit
                and not self._book.is_persons(obj_id)
                and obj_id not in self._removed
            ):
                self._anchors.setdefault(obj_id, item)

    def _give_birth(self, new: Sequence[Sighting]) -> None:
        """Make objects of new sightings, the best first, as long as there is room."""
        config = self._config
        room = max(0, config.max_objects - (len(self._tracks) - len(self._removed)))
        if len(new) > room:
            _say_full(config.max_objects)
        for item in new[:room]:
            obj_id = self._book.next_id
            self._births[obj_id] = item
            self._book.tracks[obj_id] = Track(
                obj_id=obj_id,
                label=item.label,
                source=None if item.detection is None else item.detection.source,
                first_frame=self._frame_idx,
                score=item.score,
                keep_alive=config.keep_alive,
                confirmed_at=self._frame_idx if config.confirm_frames == 1 else None,
            )
            self._book.next_id += 1

    def _loses(self, obj_id: int, other: int) -> bool:
        """Whether a track is the one to blank, of two on one place."""
        if self._book.is_persons(obj_id):
            return False
        mine = self._book.tracks[obj_id].last_occluded
        if mine is None:
            return False
        if self._book.is_persons(other):
            return True
        theirs = self._book.tracks[other].last_occluded
        return theirs is not None and mine > theirs


@functools.cache
def _say_full(most: int) -> None:
    """Once a process: it may be so on every frame from here on."""
    _log.warning(
        "%d objects at once are the most that are allowed: what is detected beside them is left "
        "out; --max-objects raises that",
        most,
    )


def _in_order(labels: Iterable[str | None]) -> list[str | None]:
    """Each label once, none first."""
    return sorted(set(labels), key=lambda label: (label is not None, label or ""))
