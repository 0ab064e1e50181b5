"""What `longtake eval` measures and prints."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.commands.lines import aligned
from samcore.errors import InputError
from samcore.evaluation.davis import Statistics
from samcore.evaluation.identity import can_measure_identity
from samcore.evaluation.open_truth import open_ground_truth
from samcore.evaluation.pairing import TrackedVideo
from samcore.evaluation.sequence import Match, SequenceScores, evaluate_sequence
from samcore.evaluation.truth import GroundTruth
from samcore.masks.table import MaskReader
from samcore.result.manifest import MANIFEST, MASKS
from samcore.video import FrameNames
from tasks.results.open import open_result_store


class Evaluation(BaseModel):
    """One or several results held against the truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequences: tuple[SequenceScores, ...]
    """One for each result."""
    j: float
    """Mean over all objects of all sequences of their mean J, as DAVIS has it."""
    f: float
    """Likewise of F."""
    j_and_f: float
    """Mean of both."""


def evaluate(
    result: str,
    truth: Path,
    *,
    sequence: str | None = None,
    match: Match | None = None,
    first_frame: int | None = None,
    all_frames: bool = False,
    credentials: str | None = None,
) -> Evaluation:
    """Measure a published result, or each one in a folder of results.

    Args:
        result: Where a result lies; or a folder of results, each named for its sequence.
        truth: The ground truth of that sequence, or of all.
        sequence: Which one of the ground truth; None is the only one, or the one that is named
            like the video, or the result's folder.
        match: How objects are paired; None is what suits the ground truth.
        first_frame: The ground truth's number of the video's first frame; None is the usual one.
        all_frames: Judge first and last frames, too.
        credentials: Name of the AwsCredentials block for a bucket.

    Raises:
        SegmentationError: There is no result or ground truth, or they do not fit.
    """
    scores = []
    for place, name in _results(result):
        store = open_result_store(place, credentials)
        manifest = store.require(place)
        with MaskReader(store.fetch(MASKS)) as reader:
            names = FrameNames.in_metadata(reader.metadata, where=str(reader.path))
            known = _open_truth(
                truth,
                sequence or name,
                manifest.request.source,
                first_frame,
                TrackedVideo(manifest.video.num_frames, names, manifest.request.tracked),
                sure=bool(sequence),
            )
            scores.append(
                evaluate_sequence(
                    reader,
                    known,
                    sequence=sequence or name or Path(manifest.request.source).stem,
                    object_ids=[item.id for item in store.objects(manifest)],
                    span=(manifest.request.start, manifest.request.stop),
                    tracked=manifest.request.tracked,
                    match=match,
                    all_frames=all_frames,
                )
            )
    objects = [item for part in scores for item in part.objects]
    j = sum(item.j.mean for item in objects) / len(objects)
    f = sum(item.f.mean for item in objects) / len(objects)
    return Evaluation(sequences=tuple(scores), j=j, f=f, j_and_f=(j + f) / 2)


def score_lines(evaluation: Evaluation) -> Iterator[str]:
    """A table of the objects, then what holds for all of them."""
    head = ["SEQUENCE", "OBJECT", "AS", "FRAMES", "J&F", "J", "RECALL", "DECAY"]
    head += ["F", "RECALL", "DECAY"]
    rows = [head]
    for part in evaluation.sequences:
        for item in part.objects:
            as_id = "missing" if item.object_id is None else str(item.object_id)
            rows.append(
                [part.sequence, str(item.truth_id), as_id, str(item.frames)]
                + [f"{item.j_and_f:.3f}"]
                + [
                    f"{value:.3f}"
                    for m in (item.j, item.f)
                    for value in (m.mean, m.recall, m.decay)
                ]
            )
    rows.append(["all", str(len(rows) - 1), "", "", *_means(evaluation)])
    yield from aligned(rows)
    for part in evaluation.sequences:
        yield from _notes(part)


def _three(measure: Statistics) -> tuple[float, float, float]:
    return measure.mean, measure.recall, measure.decay


def _means(evaluation: Evaluation) -> list[str]:
    objects = [item for part in evaluation.sequences for item in part.objects]
    values = [evaluation.j_and_f]
    for measure in ([item.j for item in objects], [item.f for item in objects]):
        values += [sum(column) / len(column) for column in zip(*map(_three, measure), strict=True)]
    return [f"{value:.3f}" for value in values]


def _notes(part: SequenceScores) -> Iterator[str]:
    identity = part.identity
    if identity is not None:
        yield (
            f"{part.sequence}: {identity.switches} identity switches, HOTA {identity.hota:.3f} "
            f"(detection {identity.det_a:.3f}, association {identity.ass_a:.3f}), "
            f"IDF1 {identity.idf1:.3f}"
        )
    elif (len(part.objects) > 1 or part.unmatched) and not can_measure_identity():
        yield (
            f"{part.sequence}: no identity measures: they need TrackEval; "
            "pip install 'longtake[eval]'"
        )
    if part.unmatched:
        numbers = ", ".join(map(str, part.unmatched[:10]))
        more = ", ..." if len(part.unmatched) > 10 else ""
        hint = "; --match overlap pairs objects by their masks" if part.match == "number" else ""
        yield f"{part.sequence}: no true object belongs to {numbers}{more} of the result{hint}"
    if part.too_short:
        numbers = ", ".join(map(str, part.too_short[:10]))
        yield f"{part.sequence}: true objects without a frame to judge: {numbers}"
    if part.frames_outside:
        yield (
            f"{part.sequence}: {part.frames_outside} annotated frames were not asked to be "
            f"tracked and do not count; {part.frames} do"
        )


def _results(result: str) -> Iterable[tuple[str, str | None]]:
    """Where each result lies, and the name of its folder if there are several."""
    folder = Path(result).expanduser()
    if "://" in result or (folder / MANIFEST).exists() or not folder.is_dir():
        return [(result, None)]
    parts = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    return [(str(part), part.name) for part in parts] or [(result, None)]


def _open_truth(
    path: Path,
    sequence: str | None,
    source: str,
    first_frame: int | None,
    video: TrackedVideo,
    *,
    sure: bool,
) -> GroundTruth:
    """The ground truth of one result; what it is called may have to be guessed."""
    if sequence is None or not sure:
        try:
            return open_ground_truth(path, sequence=sequence, first_frame=first_frame, video=video)
        except InputError:
            guess = Path(source).stem
            try:
                return open_ground_truth(path, sequence=guess, first_frame=first_frame, video=video)
            except InputError:
                pass
    return open_ground_truth(path, sequence=sequence, first_frame=first_frame, video=video)
