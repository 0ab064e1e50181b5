"""The form of Prefect's UI, as a person in front of a browser meets it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from flows.images.request import validate_images
from flows.segment_images import segment_images
from flows.segment_video import segment_video
from samcore.errors import InputError
from samcore.masks.table import MaskReader
from samcore.prompts.file import PromptFile
from samcore.scenes import Scene, box_of
from tasks.request.segment_request import SegmentRequest, choose_prompts, validate_request
from tests.servers.deployed import Deployed
from tests.servers.prefect_server import PrefectServer

Ask = Callable[..., SegmentRequest]

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SERVE = """
from flows.segment_video import segment_video
segment_video.serve(name="form", parameters={"request": {"automatic": {"max_objects": 5}}})
"""


def _schema(flow: Flow[..., Any] = segment_video) -> dict[str, Any]:
    return dict(flow.parameters.model_dump())


def _described(name: str, model: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field, schema in model["properties"].items():
        yield f"{name}.{field}", schema


def test_every_field_has_title_and_help() -> None:
    """Whatever the form shows, also in nested parts, says what it is; none has Prefect's blank."""
    definitions = _schema()["definitions"]
    fields = dict(pair for name, model in definitions.items() for pair in _described(name, model))
    assert "SegmentRequest.source" in fields
    assert "TypedBox.left" in fields
    assert [name for name, field in fields.items() if not field.get("title")] == []
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert set(definitions["SegmentRequest"]["properties"]) == set(SegmentRequest.model_fields)


def test_the_form_for_pictures_says_what_its_fields_are() -> None:
    """As that for videos; pictures, what to segment, where results go, and the model come first."""
    definitions = _schema(segment_images)["definitions"]
    fields = dict(pair for name, model in definitions.items() for pair in _described(name, model))
    assert "EverythingOptions.points_per_side" in fields
    assert [name for name, field in fields.items() if not field.get("title")] == []
    assert [name for name, field in fields.items() if not field.get("description")] == []
    form = definitions["ImagesRequest"]
    assert list(form["properties"])[:5] == [
        *("pictures", "prompts", "detector", "everything", "destination")
    ]
    assert set(form["required"]) == {"pictures", "destination"}
    typed = {
        "id": 1,
        "prompts": [{"frame": 0, "time": None, "shape": TYPED["prompts"][0]["shape"]}],
    }
    asked = {"pictures": ["a.jpg"], "destination": "out", "prompts": {"objects": [typed]}}
    jsonschema.validate(asked, {**form, "definitions": definitions})
    assert validate_images(**asked).prompts is not None


def test_form_asks_in_the_order_of_a_person() -> None:
    """Video, what to track, where results go, model, what to write, chunks; advanced comes last."""
    order = list(_schema()["definitions"]["SegmentRequest"]["properties"])
    landmarks = ["source", "prompts", "destination", "model", "overlay", "chunk_frames", "settings"]
    assert [name for name in order if name in landmarks] == landmarks
    required = _schema()["definitions"]["SegmentRequest"]["required"]
    assert set(required) == {"source", "destination"}


TYPED = {
    "id": 4,
    "label": "dog",
    "prompts": [
        {"frame": 0, "time": None, "shape": {"kind": "box", "left": 1, "top": 2.5, "right": 9,
                                             "bottom": 8}},
        {"frame": 7, "time": None, "shape": {"kind": "point", "x": 3, "y": 4, "on_object": False}},
        {"frame": 0, "time": 2.5, "shape": {"kind": "mask", "file": "dog.png"}},
        {"frame": 9, "time": None, "shape": {"kind": "mask", "file": "all.png", "index": 2}},
        {"frame": 1, "time": None, "shape": {"kind": "box", "left": -0.5, "top": 0, "right": 9,
                                             "bottom": 8}},
    ],
}  # fmt: skip
IN_A_FILE = {
    "id": 4,
    "label": "dog",
    "prompts": [
        {"frame": 0, "box": [1, 2.5, 9, 8]},
        {"frame": 7, "points": [[3, 4, 0]]},
        {"time": 2.5, "mask": "dog.png"},
        {"frame": 9, "mask": "all.png#2"},
        {"frame": 1, "box": [-0.5, 0, 9, 8]},
    ],
}


def test_typed_prompts_are_those_of_a_file() -> None:
    """What is typed into the form and the documented JSON are one request, and both fit the form's
    schema, by which Prefect's server refuses parameters."""
    typed, filed = (
        validate_request(source="a.mp4", destination="out", prompts={"objects": [one]})
        for one in (TYPED, IN_A_FILE)
    )
    assert typed == filed
    assert SegmentRequest.model_validate_json(typed.model_dump_json()) == typed
    assert json.loads(typed.model_dump_json())["prompts"]["objects"] == [IN_A_FILE]

    schema = SegmentRequest.model_json_schema()
    for prompts in ({"objects": [TYPED]}, {"objects": [IN_A_FILE]}, "a.json", None):
        jsonschema.validate({"source": "a", "destination": "b", "prompts": prompts}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"source": "a", "destination": "b", "prompts": 3}, schema)


def test_files_of_several_masks_can_be_typed() -> None:
    """A file with an index for each object, alone or beside objects, is that of a prompts file."""
    schema = SegmentRequest.model_json_schema()
    for objects in ([], [TYPED]):
        typed = {
            "objects": objects,
            "masks": [
                {"frame": 3, "time": None, "mask": "a.png"},
                {"frame": 0, "time": 2.5, "mask": "b.png"},
            ],
        }
        request = validate_request(source="a.mp4", destination="out", prompts=typed)
        assert isinstance(request.prompts, PromptFile)
        assert [one.model_dump(exclude_defaults=True) for one in request.prompts.masks] == [
            {"frame": 3, "mask": "a.png"},
            {"time": 2.5, "mask": "b.png"},
        ]
        assert SegmentRequest.model_validate_json(request.model_dump_json()) == request
        jsonschema.validate({"source": "a", "destination": "b", "prompts": typed}, schema)
        filed = json.loads(request.model_dump_json())["prompts"]
        jsonschema.validate({"source": "a", "destination": "b", "prompts": filed}, schema)


BOX = {"kind": "box", "left": 1, "top": 2, "right": 3, "bottom": 4}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"shape": {**BOX, "left": 5}}, ["box", "inside out"]),
        ({"shape": {**BOX, "left": "x"}}, ["box, left", "'x'"]),
        ({"shape": {"kind": "box", "left": 1}}, ["box, top", "required"]),
        ({"shape": {**BOX, "colour": 1}}, ["box, colour"]),
        ({"shape": {"kind": "circle"}}, ["box, point or mask", "'circle'"]),
        ({"shape": None}, ["box, point or mask"]),
        ({"shape": BOX, "frame": -1}, ["frame", "-1"]),
        ({"shape": BOX, "box": [1, 2, 3, 4]}, ["'box'", "beside shape"]),
        ({"frame": 1}, ["wanted a box, points or a mask"]),
    ],
)
def test_a_mistake_in_the_form_is_one_line(prompt: dict[str, object], words: list[str]) -> None:
    """A bad value is refused with its object, its place and what is wanted."""
    with pytest.raises(InputError, match="object 4, prompts") as caught:
        validate_request(
            source="a.mp4",
            destination="out",
            prompts={"objects": [{"id": 4, "prompts": [prompt]}]},
        )
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, ["nothing to track", "prompts", "automatic"]),
        ({"prompts": {"objects": []}}, ["nothing to track"]),
        ({"prompts": {"objects": [], "masks": []}}, ["nothing to track"]),
        ({"prompts": "a.json", "automatic": {}}, ["both"]),
        ({"prompts": " "}, ["empty name"]),
        ({"prompts": [1]}, ["objects", "[1]"]),
        ({"automatic": {"max_objects": 0}}, ["automatic.max_objects", "0"]),
    ],
)
def test_one_way_to_say_what_to_track(asked: dict[str, object], words: list[str]) -> None:
    """Prompts or automatic: neither, both or an empty one is one clear line."""
    with pytest.raises(InputError) as caught:
        validate_request(source="a.mp4", destination="out", **asked)
    assert all(word in str(caught.value) for word in words), str(caught.value)


FIVE, LATER = {"max_objects": 5}, {"detect_every": 30}
OWN, OTHER = "s3://bucket/own.json", "s3://bucket/other.json"


@pytest.mark.parametrize(
    ("asked", "default", "kept"),
    [
        ({"prompts": OWN, "automatic": FIVE}, {"automatic": FIVE}, "prompts"),
        ({"prompts": OWN, "automatic": FIVE}, {"automatic": FIVE, "prompts": OWN}, "prompts"),
        ({"prompts": OWN, "automatic": FIVE}, {"prompts": OWN}, "automatic"),
        ({"prompts": {"objects": [IN_A_FILE]}, "automatic": FIVE},
         {"prompts": {"objects": [TYPED]}}, "automatic"),
        ({"prompts": OWN, "automatic": FIVE}, {"automatic": {"max_objects": 6}}, None),
        ({"prompts": OWN, "automatic": FIVE}, {"prompts": OTHER}, None),
        ({"prompts": OWN, "automatic": FIVE}, {"automatic": "junk", "prompts": 3}, None),
        ({"prompts": OWN, "automatic": FIVE}, None, None),
        ({"prompts": OWN, "automatic": LATER}, {"automatic": LATER}, "prompts"),
        ({"prompts": OWN, "automatic": LATER}, {"prompts": OWN}, "automatic"),
        ({"prompts": OWN, "automatic": LATER}, {"automatic": FIVE}, "both"),
        ({"warm_start": "a", "automatic": LATER}, {"automatic": FIVE}, "both"),
        ({"warm_start": "a", "automatic": FIVE}, None, None),
    ],
)  # fmt: skip
def test_a_persons_choice_wins_over_a_default(
    asked: dict[str, object], default: object, kept: str | None
) -> None:
    """Of prompts and automatic, that one goes which the deployment has as its default; two that a
    person chose are refused, unless objects are looked for throughout the video."""
    request = SegmentRequest.model_validate({"source": "a.mp4", "destination": "out", **asked})
    if kept is None:
        with pytest.raises(InputError, match="got both"):
            choose_prompts(request, default)
        return
    chosen = choose_prompts(request, default)
    if kept == "both":
        assert chosen == request
        return
    assert getattr(chosen, kept) == getattr(request, kept)
    assert [chosen.prompts, chosen.automatic].count(None) == 1


def test_a_run_of_a_deployment_takes_the_persons_prompts(prefect_api: str, ask: Ask) -> None:
    """Asked for by the API with what the form fills in: the run tracks the object that was typed;
    with an `automatic` that is not the deployment's, it fails in one line."""
    deployed = Deployed(automatic=FIVE, model="nano")
    box = {"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}
    asked = ask(stop=4, chunk_frames=4, overlap=0, prompts={"objects": [box]})
    request = asked.model_dump(mode="json", exclude_unset=True)
    states = []
    with get_client(sync_client=True) as client:
        for automatic in (FIVE, {"max_objects": 6}):
            run = client.create_flow_run_from_deployment(
                deployed.id, parameters={"request": {**request, "automatic": automatic}}
            )
            states.append(
                run_flow(
                    segment_video,
                    flow_run=run,
                    parameters=run.parameters,
                    return_type="state",
                )
            )
    right, wrong = states
    assert right.is_completed(), (right, right.message)
    assert right.result().objects == 1
    assert wrong.is_failed()
    assert "wanted one of them, got both" in str(wrong.message)


class Form:
    """The page of a deployment's run form, as a person uses it."""

    def __init__(self, page: Any, url: str) -> None:
        """Open the page.

        Args:
            page: A page of a browser.
            url: Of the form.
        """
        self._page = page
        page.goto(url)
        self._field("Video").wait_for()

    def fill(self, title: str, value: object) -> None:
        """Type into the last field with this title."""
        self._field(title).locator("input, textarea").first.fill(str(value))

    def tab(self, title: str, name: str) -> None:
        """Choose one of the tabs of a field."""
        self._field(title).get_by_role("button", name=name, exact=True).first.click()

    def choose(self, title: str, choice: str) -> None:
        """Open a field's list, and take something from it."""
        self._field(title).locator(".p-select-button__control").focus()
        self._page.keyboard.press("ArrowDown")
        self._page.locator(".p-select-option__text").get_by_text(choice, exact=True).click()

    def toggle(self, title: str) -> None:
        """Turn a switch on or off."""
        self._field(title).get_by_role("switch").click()

    def add_item(self, title: str) -> None:
        """Add an item to a list, and wait for its fields: the last ones may be others till then."""
        count = "document.querySelectorAll('.schema-form-property__label').length"
        before = self._page.evaluate(count)
        self._field(title).get_by_role("button", name="Add item").last.click()
        self._page.wait_for_function(f"before => {count} > before", arg=before)

    def submit(self) -> None:
        """Ask for the run."""
        self._page.get_by_role("button", name="Submit").click()

    def _field(self, title: str) -> Any:
        titles = f"normalize-space(.)='{title}' or normalize-space(.)='{title} (Optional)'"
        return self._page.locator(
            f"xpath=//span[contains(@class,'schema-form-property__label') and ({titles})]"
            "/ancestor::div[contains(@class,'schema-form-property') and "
            "contains(@class,'p-label')][1]"
        ).last


def _ask(url: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    wanted = urllib.request.Request(
        url + path, data=data, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(wanted, timeout=30) as answer:
        return json.load(answer)


def _wait(what: Callable[[], Any], said: Callable[[], str], *, limit_s: float = 240) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline, said()
        time.sleep(0.5)
    return found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """An empty page of a browser."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(60_000)
        try:
            yield page
        finally:
            page.screenshot(path=tmp_path / "last.png")  # pytest keeps it if the test fails
            browser.close()


@pytest.fixture
def served(prefect_database: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with its pages, and a process that serves the flow; the API and that one's log."""
    log = tmp_path / "serve.log"
    with PrefectServer(tmp_path, migrated=prefect_database, ui=True) as server:
        environment = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(tmp_path)}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            yield server.url, log
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check_artifacts(page: Any, api: str, ui: str, run_id: str, scene: Scene) -> None:
    """The run's progress is at its end; and the pages of its result show the picture, the way to
    the report, and the object with its label."""
    made = _ask(api, "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    by_type = {artifact["type"]: artifact for artifact in made}
    assert set(by_type) == {"progress", "table", "markdown"}
    assert float(by_type["progress"]["data"]) == 100

    page.goto(f"{ui}/artifacts/artifact/{by_type['markdown']['id']}")
    picture = page.get_by_role("img", name="frame 6", exact=True)
    picture.wait_for()
    size = picture.evaluate(
        "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    )
    assert size == [scene.width, scene.height]
    assert page.get_by_text("report.html").first.is_visible()
    assert page.get_by_text("1 object on 12 frames").first.is_visible()

    page.goto(f"{ui}/artifacts/artifact/{by_type['table']['id']}")
    row = page.get_by_role("row").filter(has_text="a shape")
    row.wait_for()
    assert "12 of 12 frames" in row.inner_text()


def _check_a_file(page: Any, api: str, form_url: str, asked: dict[str, str]) -> None:
    """Prompts can be a file's name: the run that is made asks for that file, and nothing else."""
    there = {run["id"] for run in _ask(api, "/flow_runs/filter", {})}
    form = Form(page, form_url)
    form.fill("Video", asked["source"])
    form.tab("What to track", "a file")
    form.fill("What to track", asked["prompts"])
    form.fill("Destination", asked["destination"])
    form.submit()
    (run,) = _wait(
        lambda: [run for run in _ask(api, "/flow_runs/filter", {}) if run["id"] not in there],
        lambda: "no run was made",
    )
    request = run["parameters"]["request"]
    assert {name: request[name] for name in asked} == asked
    # The form sends the deployment's default, too.
    chosen = choose_prompts(SegmentRequest.model_validate(request), {"automatic": FIVE})
    assert (chosen.prompts, chosen.automatic) == (asked["prompts"], None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_person_fills_in_the_form(
    page: Any, served: tuple[str, Path], clip: Path, scene: Scene, tmp_path: Path
) -> None:
    """Typed in and submitted in a browser, a request is refused while something is missing, then
    runs; its page shows that it completed, and its artifacts; and the masks are where it said."""
    api, log = served
    ui = api.removesuffix("/api")
    (deployment,) = _wait(lambda: _ask(api, "/deployments/filter", {}), log.read_text)
    destination = tmp_path / "out"

    form_url = f"{ui}/deployments/deployment/{deployment['id']}/run"

    form = Form(page, form_url)
    form.fill("Video", clip)
    form.add_item("Objects")
    form.fill("Number", 4)
    form.tab("Label", "set")
    form.fill("Label", "a shape")
    form.add_item("Prompts")
    for side, value in zip(
        ("Left", "Top", "Right", "Bottom"), box_of(scene.masks_nhw(0)[0]), strict=True
    ):
        form.fill(side, value)
    form.add_item("Prompts")
    form.tab("Where", "Point")
    form.fill("x", 2)
    form.fill("y", 3)
    form.toggle("On the object")
    form.tab("Stop before frame", "set")
    form.fill("Stop before frame", 12)
    form.tab("Model", "set")
    form.choose("Model", "nano")
    form.fill("Frames of a chunk", 12)
    form.submit()
    page.get_by_text("'destination' is a required property").first.wait_for()
    assert _ask(api, "/flow_runs/filter", {}) == []

    form.fill("Destination", destination)
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    form.submit()
    (run,) = _wait(lambda: _ask(api, "/flow_runs/filter", {}), log.read_text)
    asked = run["parameters"]["request"]["prompts"]["objects"]
    assert [item["id"] for item in asked] == [4]
    assert [one["shape"]["kind"] for one in asked[0]["prompts"]] == ["box", "point"]
    assert asked[0]["prompts"][1]["shape"]["on_object"] is False

    page.goto(f"{ui}/runs/flow-run/{run['id']}")
    page.get_by_text("Completed", exact=True).first.wait_for(timeout=300_000)
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("longtake-", exact=False).first.wait_for()
    page.screenshot(path=tmp_path / "run.png", full_page=True)
    _check_artifacts(page, api, ui, run["id"], scene)

    with MaskReader(destination / "masks.parquet") as reader:
        found = reader.masks(11)[4]
    truth = scene.masks_nhw(11)[0]
    assert np.count_nonzero(found & truth) / np.count_nonzero(found | truth) > 0.6

    other = tmp_path / "other"
    asked = {"source": str(clip), "prompts": "s3://bucket/prompts.json", "destination": str(other)}
    _check_a_file(page, api, form_url, asked)
