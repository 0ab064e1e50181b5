"""What a person gets wrong about pictures ends at once, with one line and exit code 2."""

from pathlib import Path

import pytest

from flows.cli import run
from tests.samcore.picture_runs.conftest import picture_png

BOX = ("--box", "10,10,50,50")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers here: these errors must come before Prefect is wanted."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("a.png", *BOX), "--output"),
        (("a.png", "-o", "out"), "nothing says what to segment on"),
        (("a.png", "-o", "out", *BOX, "--everything"), "give one kind of"),
        (("a.png", "-o", "out", "--everything", "--text", "dog"), "give one kind of"),
        (("a.png", "-o", "out", "--box", "10,10"), "--box '10,10': got 2 numbers"),
        (("a.png", "-o", "out", "--box", "60,10,10,60"), "x1 < x2"),
        (("a.png", "-o", "out", "--point", "1"), "--point '1'"),
        (("a.png", "-o", "out", "--mask", "missing.png"), "missing.png"),
        (("a.png", "-o", "out", "--prompts", "missing.json"), "missing.json"),
        (("a.png", "-o", "out", "--prompts", "broken.json"), "broken.json"),
        (("b.png", "-o", "out", *BOX), "there is no file or folder b.png"),
        (("*.tif", "-o", "out", *BOX), "no file has a name like *.tif"),
        (("empty", "-o", "out", *BOX), "no pictures in the folder"),
        (("bad.csv", "-o", "out", *BOX), "bad.csv, line 3"),
        (("http://host/a.png", "-o", "out", *BOX), "http:// is not read here"),
        ((".", "-o", ".", *BOX), "would go into the folder of pictures"),
        (("a.png", "-o", "a.png/out", *BOX), "a.png"),
        (("a.png", "-o", "a.png", *BOX), "a file is in the way"),
        (("a.png", "-o", "https://host/out", *BOX), "cannot be written to"),
        (("a.png", "-o", "out", *BOX, "--format", "bmp"), "coco, label-png, mask-png"),
        (("a.png", "-o", "out", *BOX, "--everything-option", "use_m2m=1"), "goes with"),
        (("a.png", "-o", "out", "--everything", "--everything-option", "x=1"), "points_per_side"),
        (("a.png", "-o", "out", "--text", "dog", "--detect", "masks"), "does not look for what a"),
        (("a.png", "-o", "out", "--detect", "motion"), "motion looks at the frames of a video"),
        (("a.png", "-o", "out", "--detect", "file:a.json"), "wanted one of masks, torchvision"),
        (("a.png", "-o", "out", "--detect", "nobody"), "unknown detector: got 'nobody'"),
        (("a.png", "-o", "out", "--labels", "dog"), "--labels goes with"),
        (("a.png", "-o", "out", *BOX, "--shard-pictures", "0"), "shard_pictures"),
        (("a.png", "-o", "out", *BOX, "--fast"), "--fast"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_options_are_one_line_and_exit_code_2(
    args: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each mistake is one line on standard error that says which; there is no result."""
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(picture_png(0))
    Path("broken.json").write_text('{"objects": oops}')
    Path("bad.csv").write_text("path,text\na.png,dog\na.png,dog,cat\n")
    Path("empty").mkdir()

    code = run(["image", *args])

    out, err = capfd.readouterr()
    assert code == 2, err
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "manifest.json").exists()
