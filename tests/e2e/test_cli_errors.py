"""What a person gets wrong ends at once, with one line and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli import run

BOX = ("--box", "1:0:10,10,60,60")
STRIDE = ("--memory-policy", "sam2-stride", "--memory-policy-option")
TINY = ("--model", "random-tiny", "--image-size", "64", "--device", "cpu")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers here: these errors must come before Prefect is wanted."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((*BOX,), "--output"),
        (("-o", "out"), "no prompts"),
        (("-o", "out", "--box", "1:0:10,10"), "--box '1:0:10,10'"),
        (("-o", "out", "--box", "1:0:60,10,10,60"), "inside out"),
        (("-o", "out", *TINY, "--box", "1:0:10,10,600,60"), "object 1"),
        (("-o", "out", *TINY, "--box", "1:66:10,10,60,60"), "at most 65"),
        (("-o", "out", *TINY, "--box", "1:9.5s:10,10,60,60"), "9.5 s"),
        (("-o", "out", "--point", "1:0:10"), "--point '1:0:10'"),
        (("-o", "out", *TINY, "--point", "1:0:10,10,0"), "label 1"),
        (("-o", "out", *TINY, "--point", "1:0:200,10"), "0 to 127 across"),
        (("-o", "out", "--mask", "1:0"), "--mask '1:0'"),
        (("-o", "out", *TINY, "--mask", "1:0:missing.png"), "missing.png"),
        (("-o", "out", "--prompts", "missing.json"), "missing.json"),
        (("-o", "out", "--prompts", "broken.json"), "line 1 column 13"),
        (("-o", "out", "--prompts", "broken.json", *BOX), "not both"),
        (("-o", "out", *BOX, "--model", "sam2.1-teeny"), "did you mean sam2.1-tiny"),
        (("-o", "out", *BOX, "--checkpoint", "missing.pt"), "--config"),
        (("-o", "out", *BOX, "--config", "configs/sam2.1/sam2.1_hiera_t.yaml"), "--checkpoint"),
        (("-o", "out", *BOX, *TINY[:2], "--image-size", "50"), "50"),
        (("-o", "out", *BOX, *TINY[:4], "--device", "cuda:9"), "cuda:9"),
        (("-o", "out", *BOX, "--dtype", "int8"), "--dtype"),
        (("-o", "out", *BOX, "--chunk-frames", "many"), "--chunk-frames"),
        (("-o", "out", *BOX, "--overlap", "240"), "overlap"),
        (("-o", "out", *BOX, *TINY, "--stop", "99"), "66"),
        (("-o", "out", *BOX, "--handoff", "hope"), "--handoff"),
        (("-o", "out", *BOX, "--min-agreement", "2"), "min_agreement"),
        (("-o", "out", *BOX, "--memory-policy", "sam9"), "sam2-stride"),
        (("-o", "out", *BOX, "--memory-policy-option", "stride=2"), "sam2 has no options"),
        (("-o", "out", *BOX, *STRIDE, "n=2"), "NAME=VALUE, such as"),
        (("-o", "out", *BOX, *STRIDE, "stride=0"), "stride=0': input should be greater"),
        (("-o", "/proc/out", *BOX, *TINY), "/proc/out"),
        (("-o", "broken.json/out", *BOX, *TINY), "broken.json"),
        (("-o", "https://host/out", *BOX), "cannot be written to"),
        (("-o", "out", *BOX, "--fast"), "--fast"),
        (("-o", "out", "--automatic", "0"), "N:FRAME"),
        (("-o", "out", *BOX, "--automatic", "3"), "not both"),
        (("-o", "out", "--automatic", "3", "--automatic-option", "area=1"), "min_area"),
        (("-o", "out", *BOX, "--automatic-option", "min_area=1"), "goes with --automatic N"),
        (("-o", "out", "--automatic", "3:80", *TINY), "automatic.frame"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_options_are_one_line_and_exit_code_2(
    args: tuple[str, ...],
    says: str,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each mistake is one line on standard error that says which; there is no result."""
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text('{"objects": oops}')

    code = run(["track", str(clip), *args])

    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("longtake: ")
    assert says in err
    assert not Path("out/manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.mp4", None),
        ("empty.mp4", b""),
        ("text.mp4", b"this is a diary and not a video\n" * 20),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
    ],
)
@pytest.mark.parametrize("command", ["track", "probe"])
def test_bad_videos_are_one_line_and_exit_code_2(
    command: str, name: str, content: bytes | None, tmp_path: Path
) -> None:
    """A video that is none: a real process ends with exit code 2 and one line that names it."""
    video = tmp_path / name
    if content is not None:
        video.write_bytes(content)
    args = [command, str(video)]
    if command == "track":
        args += ["-o", str(tmp_path / "out"), *BOX, *TINY]

    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", *args], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "address",
    ["junk", "file:///tmp/api", "http://", "http://[", "http://h:port/api", "http://me:secret@/"],
)
@pytest.mark.parametrize("args", [["track", "{clip}", "-o", "out", *BOX, *TINY], ["serve"]])
def test_a_prefect_address_that_is_none_is_one_line(
    address: str,
    args: list[str],
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Of a Prefect server's address that is none the line says so, without the password in it."""
    monkeypatch.setenv("PREFECT_API_URL", address)

    assert run([arg.format(clip=clip) for arg in args]) == 2

    (line,) = capfd.readouterr().err.splitlines()
    assert "PREFECT_API_URL" in line
    assert "secret" not in line


def test_a_prefect_server_that_is_away_is_one_line(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Prefect server that does not answer is said in one line, before a frame is tracked."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert run(["track", str(clip), "-o", str(tmp_path), *BOX, *TINY]) == 2

    assert "does not answer" in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("chunks"))


@pytest.mark.parametrize("command", [["track", "{clip}", "-o", "out", *BOX, *TINY], ["models"]])
@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_a_cache_folder_that_is_a_file_is_one_line(
    command: list[str],
    place: str,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A cache that cannot be a folder is said at once."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / place))
    monkeypatch.delenv("PREFECT_API_URL")

    assert run([arg.format(clip=clip) for arg in command]) == 2

    (line,) = capfd.readouterr().err.splitlines()
    assert "LONGTAKE_CACHE" in line
    assert str(tmp_path / "file") in line


def test_verbose_shows_the_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With -v the traceback comes before the line."""
    assert run(["track", str(tmp_path / "no.mp4"), "-o", str(tmp_path), *BOX, *TINY, "-v"]) == 2
    err = capfd.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("longtake: ")


@pytest.mark.parametrize("args", [[], ["models"], ["track", "--help"], ["probe", "{clip}"]])
def test_commands_start_without_torch_and_prefect(args: list[str], clip: Path) -> None:
    """Help, the list of models and a probe wait for neither torch nor Prefect."""
    args = [arg.format(clip=clip) for arg in args]
    script = (
        "import sys; from flows.cli import run; run(sys.argv[1:]); "
        "sys.exit(str({'torch', 'prefect'} & set(sys.modules)) if "
        "{'torch', 'prefect'} & set(sys.modules) else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_models_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    """The list tells the size of a download from a model that needs none."""
    assert run(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "156 MB" in lines["sam2.1-tiny"]
    assert "(default)" in lines["sam2.1-tiny"]
    assert " yes " in lines["random-tiny"]
    assert " no " in lines["edgetam"]


def test_models_says_what_each_family_wants(capsys: pytest.CaptureFixture[str]) -> None:
    """Each family has a line; a gated model says what a person has to do first."""
    assert run(["models"]) == 0
    text = capsys.readouterr().out
    assert "family sam2: SAM 2 and 2.1, by the sam2 package; ready" in text
    assert "family transformers: SAM 2, SAM 3's tracker and EdgeTAM" in text
    assert "sam3 wants its licence accepted at https://huggingface.co/facebook/sam3" in text
    assert "hf:ORG/NAME" in text
    (told,) = [line for line in text.splitlines() if "--text" in line]
    assert told.startswith("sam3 ")


def test_policies_lists_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Each policy has a line, and each of its options one with its default."""
    assert run(["policies"]) == 0
    text = capsys.readouterr().out
    assert "sam2 (default): " in text
    assert "samurai: " in text
    assert "    kf_weight=0.15  Share of motion" in text
    assert max(map(len, text.splitlines())) <= 100


def test_probe_gives_a_record(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs a probe is one JSON record, for people some lines."""
    from samcore.video import VideoInfo

    assert run(["probe", str(clip), "--json"]) == 0
    info = VideoInfo.model_validate_json(capsys.readouterr().out)
    assert (info.num_frames, info.width, info.height) == (66, 128, 96)

    assert run(["probe", str(clip)]) == 0
    assert "128 x 96" in capsys.readouterr().out


def test_version_option_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the distribution's."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("longtake ")
