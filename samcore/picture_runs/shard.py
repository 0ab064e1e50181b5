"""One shard of a run over pictures: read, segment, draw, and write down that it is done."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.abilities import LooksForText
from samcore.detectors.detector import Detector, find_detector, make_detector
from samcore.disk.files import fsync_and_record, make_folder
from samcore.errors import InputError, SegmentationError, TransientError
from samcore.images.result import PictureMasks
from samcore.images.segmenter import ImageSegmenter, picture_rung
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.machine.device import choose_compute
from samcore.machine.meters import MemoryMeter
from samcore.machine.out_of_memory import memory_failure
from samcore.machine.rung import Rung
from samcore.machine.stopping import WorkStopped
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.picture_runs.drawn import DrawnPictures, draw_rows, sheet_places
from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.prompts import held_against
from samcore.picture_runs.read_ahead import Fetch, ReadPicture, read_ahead
from samcore.picture_runs.records import (
    PictureAsk,
    PictureEntry,
    PictureRecord,
    PictureRunRecord,
    ShardRecord,
)
from samcore.picture_runs.table import PictureMaskWriter, PictureRow, rows_of
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.prompt import Prompt
from samcore.run.oom_ladder import OomLadder

_Images = Sequence[NDArray[np.uint8]]


def segment_shard(
    folder: PictureRunFolder,
    index: int,
    *,
    device: str | None = None,
    fetch: Fetch | None = None,
    limits: Limits = DEFAULT_LIMITS,
    stop: threading.Event | None = None,
    on_picture: Callable[[int], None] | None = None,
) -> ShardRecord:
    """Do one shard. Only with its lock held.

    A picture that cannot be read or segmented does not stop the others: it has no masks, and its
    record says why.

    Args:
        folder: The run's.
        index: Of the shard.
        device: Where, such as `cuda:1`; None is where the run's record says.
        fetch: For pictures in buckets.
        limits: How large pictures may be.
        stop: Looked at between batches; what was done of the shard is then done again.
        on_picture: Called with the pictures of the shard that are done.

    Raises:
        WorkStopped: `stop` was set.
        OutOfMemory: It does not fit, however little is done at once.
        TransientError: A store does not answer.
        LostWorkError: The list is gone.
        ModelError: The model cannot be used.
    """
    started = time.monotonic()
    record = folder.record()
    chunk = record.shards[index]
    entries = folder.entries(chunk.start, chunk.stop)
    device = device or record.device
    model = load_model(record.model, choose_compute(device, record.dtype))
    asked = picture_rung(model)
    ladder = OomLadder(
        asked,
        record.model,
        num_objects=asked.object_batch,
        device=device,
        allow_quality_loss=False,
        doing=" while segmenting pictures",
        unit="picture",
    )
    make_folder(folder.chunk_path(index))
    on_sheet = sheet_places(record.count)
    done: list[PictureRecord] = []
    with (
        MemoryMeter() as meter,
        ladder.attempting(folder.attempt_path(index), frame_idx=chunk.start) as attempt,
        PictureMaskWriter(folder.masks_path(index)) as table,
        DrawnPictures(folder.drawn_path(index)) as drawn,
    ):
        texts = tuple(dict.fromkeys(text for entry in entries for text in entry.texts))
        work = _Work(record, model, ladder, limits, texts=texts)
        for batch in read_ahead(
            entries, first=chunk.start, batch=asked.encode_batch, fetch=fetch, limits=limits
        ):
            if stop is not None and stop.is_set():
                raise WorkStopped
            for item in work.segmented(batch):
                table.write(item.rows)
                shown = item.index in on_sheet
                if item.image is not None and (record.overlay or shown):
                    picture = draw_rows(item.image, item.rows)
                    drawn.add(item.index, picture, full=record.overlay, sheet=shown)
                done.append(item.record())
                if on_picture is not None:
                    on_picture(len(done))
        memory = meter.snapshot()
    finished = ShardRecord(
        index=index,
        start=chunk.start,
        stop=chunk.stop,
        masks=fsync_and_record(folder.masks_path(index)),
        drawn=fsync_and_record(folder.drawn_path(index)),
        pictures=tuple(done),
        attempts=attempt.number,
        degradations=tuple(ladder.steps),
        rung=ladder.degraded,
        device=device,
        seconds=time.monotonic() - started,
        peak_rss_bytes=memory.peak_rss_bytes,
        peak_vram_bytes=memory.peak_vram_bytes,
        finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    folder.finish_shard(finished)
    return finished


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """What became of one picture."""

    index: int
    image: NDArray[np.uint8] | None
    rows: list[PictureRow]
    error: str
    notes: tuple[str, ...]

    def record(self) -> PictureRecord:
        height, width = (0, 0) if self.image is None else self.image.shape[:2]
        return PictureRecord(
            index=self.index,
            height=height,
            width=width,
            masks=sum(row.area > 0 for row in self.rows),
            error=self.error,
            notes=self.notes,
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """How a picture is segmented; pictures of one way go through the model together."""

    prompts: bool = False
    everything: bool = False
    detector: AutomaticPrompts | None = None
    by_text: bool = False


class _Work:
    """Segments batches of pictures, within the memory that there is."""

    def __init__(
        self,
        record: PictureRunRecord,
        model: TrackingModel,
        ladder: OomLadder,
        limits: Limits,
        *,
        texts: tuple[str, ...],
    ) -> None:
        self._ask = record.ask
        self._model = model
        self._ladder = ladder
        self._limits = limits
        self._texts = texts
        self._detectors: dict[tuple[AutomaticPrompts, int], Detector] = {}

    def segmented(self, batch: Sequence[ReadPicture]) -> list[_Done]:
        """Each picture of a batch, in its order."""
        done: dict[int, _Done] = {}
        ways: dict[_Way, list[tuple[ReadPicture, tuple[Prompt, ...]]]] = {}
        for item in batch:
            if item.picture is None:
                done[item.index] = _Done(item.index, None, [], item.error, ())
                continue
            try:
                prompts = self._prompts(item)
            except InputError as error:
                done[item.index] = _failed(item, error)
                continue
            ways.setdefault(_way(item.entry, self._ask), []).append((item, prompts))
        for way, items in ways.items():
            for one in self._together(way, items):
                done[one.index] = one
        return [done[item.index] for item in batch]

    def _prompts(self, item: ReadPicture) -> tuple[Prompt, ...]:
        spec = item.entry.prompts
        if spec is None and not item.entry.texts:
            spec = self._ask.prompts
        if spec is None or item.picture is None:
            return ()
        height, width = item.picture.size_hw
        return held_against(spec, height=height, width=width, limits=self._limits)

    def _together(
        self, way: _Way, items: Sequence[tuple[ReadPicture, tuple[Prompt, ...]]]
    ) -> list[_Done]:
        """Pictures of one way; if one of several is to blame for an error, each by itself."""
        self._make_detector(way, frame_idx=items[0][0].index)
        try:
            found = self._ladder.run_until_it_fits(
                lambda: self._run(way, items, self._ladder.rung),
                frame_idx=lambda: items[0][0].index,
            )
        except SegmentationError as error:
            if isinstance(error, TransientError) or memory_failure(error) is not None:
                raise
            if len(items) == 1:
                return [_failed(items[0][0], error)]
            return [one for item in items for one in self._together(way, [item])]
        return [
            _Done(
                item.index,
                None if item.picture is None else item.picture.image_rgb_hwc_u8,
                rows_of(item.index, item.entry.name, masks),
                "",
                () if item.picture is None else item.picture.notes,
            )
            for (item, _), masks in zip(items, found, strict=True)
        ]

    def _make_detector(self, way: _Way, *, frame_idx: int) -> None:
        """Have the detector of a way. A network that cannot be used is no picture's fault, and ends
        the run; a text that it cannot look for is that of the picture that has it."""
        options = way.detector
        if options is not None:
            with contextlib.suppress(InputError):
                self._ladder.run_until_it_fits(
                    lambda: self._detector(options, self._ladder.rung), frame_idx=lambda: frame_idx
                )

    def _run(
        self, way: _Way, items: Sequence[tuple[ReadPicture, tuple[Prompt, ...]]], rung: Rung
    ) -> list[PictureMasks]:
        segmenter = ImageSegmenter(self._model, rung=rung)
        images = [item.picture.image_rgb_hwc_u8 for item, _ in items if item.picture is not None]
        if way.prompts:
            return segmenter.segment(images, [prompts for _, prompts in items])
        if way.everything or way.detector is None:
            return segmenter.everything(images, self._ask.everything)
        detector = self._detector(way.detector, rung)
        if not way.by_text:
            return segmenter.detected(images, detector, way.detector)
        texts = [item.entry.texts or way.detector.text for item, _ in items]
        return segmenter.by_text(images, texts, detector, way.detector)

    def _detector(self, options: AutomaticPrompts, rung: Rung) -> Detector:
        """A detector; its network takes seconds to load, and one batch of it is kept."""
        entry, _ = find_detector(options.detector)
        key = options, min(entry.batch, max(1, rung.object_batch))
        if key not in self._detectors:
            self._detectors.clear()
            detector = make_detector(options, self._model, batch=key[1])
            if self._texts and isinstance(detector, LooksForText):
                # All at once: to read texts may take a network of its own, which is not kept.
                with contextlib.suppress(InputError):  # of one, whose picture will say so
                    detector.looking_for(self._texts)
            self._detectors[key] = detector
        return self._detectors[key]


def _way(entry: PictureEntry, ask: PictureAsk) -> _Way:
    """How a picture is segmented: what the list says of it goes before what the run asks for."""
    if entry.prompts is not None:
        return _Way(prompts=True)
    if entry.texts:
        return _Way(detector=ask.text_detector or ask.detector, by_text=True)
    if ask.prompts is not None:
        return _Way(prompts=True)
    if ask.detector is not None:
        return _Way(detector=ask.detector, by_text=bool(ask.detector.text))
    return _Way(everything=True)


def _failed(item: ReadPicture, error: Exception) -> _Done:
    image = None if item.picture is None else item.picture.image_rgb_hwc_u8
    return _Done(item.index, image, [], " ".join(str(error).split()), ())
