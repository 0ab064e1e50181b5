"""Options of `longtake track` that are fields of the request are declared there alone."""

from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from flows.cli import app, run, track
from flows.cli.options import FIELD, Dtype
from samcore.config import TrackSettings
from samcore.prompts.options import merge_options, parse_box_option
from tasks.request.segment_request import SegmentRequest, validate_request

FIELDS = {**TrackSettings.model_fields, **SegmentRequest.model_fields}
BOX = "1:0:10,10,60,60"
ASKED: dict[str, tuple[list[str], Any]] = {
    "warm_start": (["--warm-start", "s.safetensors"], "s.safetensors"),
    "model": (["--model", "nano"], "nano"),
    "checkpoint": (["--checkpoint", "w.pt"], "w.pt"),
    "config": (["--config", "c.yaml"], "c.yaml"),
    "image_size": (["--image-size", "64"], 64),
    "plain_engine": (["--plain-engine"], True),
    "compile": (["--compile"], True),
    "stretch": (["--stretch"], True),
    "allow_quality_loss": (["--allow-quality-loss"], True),
    "device": (["--device", "cpu"], "cpu"),
    "dtype": (["--dtype", "float32"], "float32"),
    "encode_every": (["--encode-every", "2"], 2),
    "object_batch": (["--object-batch", "4"], 4),
    "memory_pool": (["--memory-pool", "2"], 2),
    "chunk_frames": (["--chunk-frames", "50"], 50),
    "overlap": (["--overlap", "0"], 0),
    "handoff": (["--handoff", "mask"], "mask"),
    "shards": (["--shards", "2"], 2),
    "runner": (["--runner", "dask:tcp://10.0.0.7:8786"], "dask:tcp://10.0.0.7:8786"),
    "memory_policy": (["--memory-policy", "dam"], "dam"),
    "retire_after": (["--retire-after", "30"], 30),
    "look_for_every": (["--retire-after", "30", "--look-for-every", "5"], 5),
    "archive_size": (["--retire-after", "30", "--archive-size", "9"], 9),
    "min_agreement": (["--min-agreement", "0.25"], 0.25),
    "on_disagreement": (["--on-disagreement", "fail"], "fail"),
    "direction": (["--direction", "both"], "both"),
    "start": (["--start", "3"], 3),
    "stop": (["--stop", "9"], 9),
    "every": (["--every", "10"], 10),
    "fps": (["--fps", "2.5"], 2.5),
    "work_dir": (["--work-dir", "w"], "w"),
    "memory_log": (["--memory-log", "m.csv"], "m.csv"),
    "overlay": (["--overlay"], True),
    "keep_states": (["--no-keep-states"], False),
    "report": (["--no-report"], False),
    "formats": (["--format", "mot-txt", "--format", "coco-video"], ("mot-txt", "coco-video")),
    "force": (["--force"], True),
}
"""What is given on the command line, and what the field is then."""


def command() -> Any:
    return typer.main.get_command(app).commands["track"]  # type: ignore[attr-defined]


def asked_for(
    monkeypatch: pytest.MonkeyPatch, args: list[str], videos: tuple[str, ...] = ("v.mp4",)
) -> SegmentRequest:
    """The request that a command line makes."""
    made: list[SegmentRequest] = []

    def run_local(request: SegmentRequest, *_: object, **__: object) -> None:
        made.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.commands.run_local.run_local", run_local)
    assert run(["track", *videos, "-o", "out", "--box", BOX, *args]) == 130
    return made[0]


def test_options_have_the_texts_and_defaults_of_their_fields() -> None:
    """--help shows each field's own text and default, and a text for every option."""
    track_command = command()
    of_fields = [one.name for one in track_command.params if (one.help or "").startswith(FIELD)]
    track_command.get_help(typer.Context(track_command))

    for param in track_command.params:
        assert (param.help or "").strip("\0 "), param.name
        if param.name in of_fields:
            field = FIELDS[param.name]
            assert field.description
            assert param.help.startswith(field.description)
            if not field.is_required():
                assert (param.default or field.default) == field.default
    assert set(ASKED) == set(of_fields) - {"source", "destination"}


def test_choices_are_those_of_the_fields() -> None:
    """Where --help lists values, they are the ones that the field takes."""
    for choices, name in ((Dtype, "dtype"), (track.OnDisagreement, "on_disagreement")):
        assert tuple(one.value for one in choices) == get_args(FIELDS[name].annotation)


def test_options_that_are_not_given_are_the_fields_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line without an option asks for what a request without the field asks for."""
    prompts = merge_options([parse_box_option(BOX)], [], [])
    assert asked_for(monkeypatch, []) == validate_request(
        source="v.mp4", destination="out", prompts=prompts, any_mask_path=True
    )


@pytest.mark.parametrize("name", ASKED)
def test_options_reach_their_fields(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What is given is in its field, and changes no other one."""
    args, value = ASKED[name]
    plain, request = asked_for(monkeypatch, []), asked_for(monkeypatch, args)
    where = request.settings if name in TrackSettings.model_fields else request
    assert getattr(where, name) == value
    changed = [
        field
        for field in SegmentRequest.model_fields
        if getattr(plain, field) != getattr(request, field)
    ]
    assert changed == ["settings" if where is request.settings else name]
    assert Path(request.source).name == "v.mp4"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--retire-after", "0"], "settings.retire_after: Input should be greater than or equal"),
        (["--look-for-every", "0", "--retire-after", "3"], "settings.look_for_every: Input should"),
        (["--archive-size", "0", "--retire-after", "3"], "settings.archive_size: Input should be"),
        (["--look-for-every", "5"], "look_for_every needs retire_after, which says when an object"),
        (["--archive-size", "5"], "archive_size needs retire_after, which says when an object"),
    ],
)
def test_retirement_that_makes_no_sense_is_one_line(
    capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    """It is refused before anything is opened."""
    assert run(["track", "v.mp4", "-o", "out", "--box", BOX, *args]) == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert "Traceback" not in error


def test_several_files_are_one_recording_with_join(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named one by one or in a list, in their order; without --join they are several videos."""
    files = [tmp_path / name for name in ("b.mp4", "a.mp4")]
    for file in files:
        file.write_bytes(b"x")
    (tmp_path / "parts.txt").write_text("b.mp4\na.mp4\n")
    for asked in (tuple(map(str, files)), (str(tmp_path / "parts.txt"),)):
        request = asked_for(monkeypatch, ["--join"], asked)
        assert (request.source, request.further_parts) == (str(files[0]), (str(files[1]),))
    assert asked_for(monkeypatch, [], (str(files[0]),)).further_parts == ()

    assert run(["probe", *map(str, files)]) == 2
    assert "give --join if they are one recording" in capsys.readouterr().err
    assert run(["track", "v.mp4", "-o", "out", "--box", BOX, "--every", "2", "--fps", "3"]) == 2
    assert "every and fps: wanted one of them, got both" in capsys.readouterr().err
