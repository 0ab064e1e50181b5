"""All that one server of the page knows: the video, its pictures, the prompts and the model."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcore.drawing import object_colour
from samcore.errors import InputError, SegmentationError
from samcore.interactive.edits import DraftObject
from samcore.interactive.news import News
from samcore.interactive.opening import OpeningVideo
from samcore.interactive.pictures import PictureServer
from samcore.interactive.project import Project, open_project, says_where
from samcore.progress import Progress, listening
from samcore.prompts.file import ObjectPrompts, PromptEntry, PromptFile
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import resolve_prompts
from samcore.run.stepping import check_tracked
from samcore.video import VideoSource, first_frames
from samcore.video.tracked import TrackedFrames, choose_frames
from tasks.request.early_checks import open_asked_video, resolve_asked_model
from tasks.request.segment_request import SegmentRequest
from tasks.settings import Settings
from tasks.store.locations import HttpsLocation, S3Location

if TYPE_CHECKING:
    from samcore.interactive.clicks import ClickSession
    from samcore.models.family import TrackingModel
    from samcore.models.registry import ModelSpec

_log = logging.getLogger(__name__)

VIDEO, MODEL, ENCODE, PROJECT, WORK = "video", "model", "encode", "project", "work"
"""Topics of the news."""
_SAMPLES = 400
"""Frames whose time stamps the page knows at once, for the scrubber."""
_WAIT_S = 600.0
_PICTURE_FIRST_S = 10.0
"""So long a model waits to be loaded, until somebody sees a picture."""
_LARGE_BYTES = 50_000_000


@dataclass(eq=False)
class PageSession:
    """One video on one page. Made by `open_session`; every member may be used from any thread."""

    request: SegmentRequest
    """The run that the page prepares: video, model, settings, destination. Its prompts are the
    project's."""
    settings: Settings
    """Of the environment."""
    news: News
    """What windows are told; a panel of the page has a topic of its own."""
    opening: OpeningVideo
    pictures: PictureServer
    project: Project
    panels: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What panels close at the end."""
    _model_changed: threading.Condition = field(default_factory=threading.Condition)
    _model: "TrackingModel | None" = None
    _clicks: "ClickSession | None" = None
    _model_error: SegmentationError | None = None
    _spec: "ModelSpec | None" = None

    def load_model(self) -> None:
        """Begin to load the model, in a thread: it takes seconds, and a download takes minutes."""
        self.news.tell(MODEL, {"state": "loading", "name": self.request.model or ""})
        threading.Thread(target=self._load, name="longtake-model", daemon=True).start()

    def clicks(self, *, wait_s: float = _WAIT_S) -> "ClickSession":
        """What gives the masks of clicks, as soon as the model is loaded.

        Raises:
            SegmentationError: It cannot be loaded, or takes longer than that.
        """
        with self._model_changed:
            self._model_changed.wait_for(
                lambda: self._model is not None or self._model_error is not None, wait_s
            )
            if self._model is None:
                raise self._model_error or InputError("the model is not loaded yet; try again")
            info = self.opening.having(0, wait_s=wait_s).info
            size = (info.height, info.width)
            if self._clicks is None or self._clicks.size_hw != size:
                self._clicks = self._new_clicks(self._model, size)
            return self._clicks

    def _new_clicks(self, model: "TrackingModel", size_hw: tuple[int, int]) -> "ClickSession":
        from samcore.interactive.clicks import ClickSession  # late, like all of torch

        return ClickSession(
            model,
            height=size_hw[0],
            width=size_hw[1],
            settings=self.request.settings,
            frame=lambda frame_idx: self.opening.having(frame_idx, wait_s=0.0).frame(frame_idx),
            on_encode=self._tell_encode,
        )

    @property
    def model(self) -> "ModelSpec":
        """Which model it is, once `clicks` was given."""
        if self._spec is None:
            raise InputError("the model is not loaded yet; try again")
        return self._spec

    def prompts_on(self, frame_idx: int) -> tuple[Prompt, ...]:
        """The prompts of this frame as the tracker takes them, of objects that can begin with
        them; by ascending object."""
        video = self.opening.having(frame_idx, wait_s=0.0)
        said = []
        for item in self.project.objects:
            entry = item.on(frame_idx)
            if entry is not None and says_where(entry):
                said.append(item.model_copy(update={"prompts": (entry,)}))
        return self._resolve(said, video)

    def prompts(self) -> tuple[Prompt, ...]:
        """All that can be tracked, as the tracker takes it; by ascending object and frame."""
        said = self.project.as_prompts()
        if said is None:
            return ()
        last = max(entry.frame or 0 for item in said.objects for entry in item.prompts)
        return self._resolve(said.objects, self.opening.having(last, wait_s=0.0))

    def check(self, said: PromptFile) -> None:
        """Hold what is newly said of objects against the video.

        Raises:
            InputError: One line that names the object, the field and the limit.
        """
        frames = [entry.frame or 0 for item in said.objects for entry in item.prompts]
        if not frames:
            return
        video = self.opening.having(max(frames), wait_s=0.0)
        whole = (0.0, 0.0, float(video.info.width), float(video.info.height))

        def complete(entry: PromptEntry) -> PromptEntry:
            # Where only clicks beside the object are known, others may follow.
            return entry if says_where(entry) else entry.model_copy(update={"box": whole})

        prompts = self._resolve(
            [
                item.model_copy(update={"prompts": tuple(map(complete, item.prompts))})
                for item in said.objects
            ],
            video,
        )
        check_tracked(prompts, self._tracked(video), video)

    def tell_video(self, opening: OpeningVideo) -> None:
        """Tell windows what is known of the video."""
        video = opening.known
        said: dict[str, Any] = {
            "indexed": 0 if video is None else video.info.num_frames,
            "claimed": opening.claimed,
            "finished": opening.finished,
            "error": None if opening.error is None else str(opening.error),
        }
        if video is not None:
            said |= _facts(video)
        self.news.tell(VIDEO, said)

    def tell_project(self, project: Project) -> None:
        """Tell windows what the prompts are."""
        self.news.tell(PROJECT, shown_project(project))

    def _tracked(self, video: VideoSource) -> TrackedFrames | None:
        """Which of the frames that are known the run tracks; None if that is all of them."""
        start, stop = self.request.start, self.request.stop
        stop = video.info.num_frames if stop is None else min(stop, video.info.num_frames)
        if start >= stop:
            return None  # the run's own part of the video is still to be scanned
        every, fps = self.request.every, self.request.rate_wanted
        return choose_frames(video, start, stop, every=every, fps=fps)

    def _resolve(self, said: Sequence[ObjectPrompts], video: VideoSource) -> tuple[Prompt, ...]:
        return resolve_prompts(
            PromptFile.model_construct(objects=tuple(said), masks=()),
            video=video.info,
            frame_at=video.frame_at,
            base_dir=self.project.folder,
            start=0,
            stop=video.info.num_frames,
            limits=self.settings.limits,
        )

    def _load(self) -> None:
        found: TrackingModel | None = None
        error: SegmentationError | None = None
        try:
            found = self._loaded()
        except SegmentationError as raised:
            error = raised
        except Exception as raised:
            _log.exception("the model cannot be loaded")
            error = SegmentationError(f"the model cannot be loaded: {raised}")
        with self._model_changed:
            self._model, self._model_error = found, error
            self._model_changed.notify_all()
        if error is not None:
            self.news.tell(MODEL, {"state": "failed", "error": str(error)})

    def _loaded(self) -> "TrackingModel":
        self.opening.having(0, wait_s=_WAIT_S)
        self.pictures.shown.wait(_PICTURE_FIRST_S)
        # Late: torch takes seconds to import, and the first picture does not need it.
        from samcore.machine.device import choose_compute
        from samcore.models.loader import load_model

        request = self.request
        spec = resolve_asked_model(
            request, self.settings.cache_dir, self._tell_download, compile=request.compile
        )
        compute = choose_compute(request.settings.device, request.settings.dtype, spec)
        model = load_model(spec, compute)
        self._spec = spec
        self.news.tell(MODEL, {"state": "ready", "name": spec.name, "device": compute.describe()})
        return model

    def _tell_download(self, done: int, total: int | None) -> None:
        self.news.tell(MODEL, {"state": "downloading", "done": done, "total": total})

    def _tell_encode(self, frame_idx: int, done: bool) -> None:
        self.news.tell(ENCODE, {"frame": frame_idx, "done": done})


@contextlib.contextmanager
def open_session(
    request: SegmentRequest, folder: Path, *, settings: Settings
) -> Iterator[PageSession]:
    """Open a video for the page: at once, everything that takes time goes on in threads.

    Args:
        request: The run that the page prepares.
        folder: Where its prompts are kept.
        settings: Of the environment.

    Raises:
        StateError: Another server has the folder open.
        StorageError: The folder cannot be read or written.
    """
    news = News()
    opening = OpeningVideo(
        partial(open_asked_video, request), glimpse=_glimpse(request.source_place, settings)
    )
    with contextlib.ExitStack() as stack:
        project = stack.enter_context(
            open_project(folder, source=str(request.source_place), limits=settings.limits)
        )
        pictures = PictureServer(opening)
        session = PageSession(request, settings, news, opening, pictures, project)
        for close in (pictures.close, opening.close, news.close, session.panels.close):
            stack.callback(close)
        opening.on_change = session.tell_video
        project.on_change = session.tell_project
        stack.enter_context(listening(partial(_tell_progress, news)))
        session.tell_video(opening)
        session.tell_project(project)
        opening.start()
        session.load_model()
        yield session


def _glimpse(
    place: Path | S3Location | HttpsLocation, settings: Settings
) -> Callable[[], VideoSource | None] | None:
    """Of a large file of this machine, which is read whole before it is scanned."""
    if not isinstance(place, Path) or not place.is_file() or place.stat().st_size < _LARGE_BYTES:
        return None
    return partial(first_frames, place, limits=settings.limits)


def shown_project(project: Project) -> dict[str, Any]:
    """The prompts as windows show them."""
    return {
        "revision": project.revision,
        "canUndo": project.can_undo,
        "canRedo": project.can_redo,
        "file": str(project.prompts_path),
        "objects": [_shown(item) for item in project.objects],
    }


def _tell_progress(news: News, progress: Progress) -> None:
    news.tell(
        WORK,
        {"what": progress.what, "done": progress.done, "total": progress.total}
        if not progress.finished
        else None,
    )


def _facts(video: VideoSource) -> dict[str, Any]:
    info = video.info
    step = max(1, info.num_frames // _SAMPLES)
    frames = [*range(0, info.num_frames, step), info.num_frames - 1]
    return {
        "name": Path(info.source).name,
        "width": info.width,
        "height": info.height,
        "rate": float(info.avg_rate),
        "times": [[frame, round(float(video.time_s(frame)), 4)] for frame in frames],
        "remarks": list(info.remarks),
    }


def _shown(item: DraftObject) -> dict[str, Any]:
    red, green, blue = object_colour(item.id)
    return {
        "id": item.id,
        "label": item.label or "",
        "colour": f"#{red:02x}{green:02x}{blue:02x}",
        "prompts": [
            {
                "frame": entry.frame,
                "points": [list(point) for point in entry.points],
                "box": None if entry.box is None else list(entry.box),
                "mask": entry.mask is not None,
                "ready": says_where(entry),
            }
            for entry in item.prompts
        ],
    }
