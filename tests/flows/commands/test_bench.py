"""`longtake bench` as a person runs it."""

import os
import re
import signal
from pathlib import Path

import pytest

from flows.cli import run
from flows.commands.bench import Finished, bench_lines
from flows.commands.process import StoppedForGood, Terminated
from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.models.registry import resolve_model
from samcore.progress import Progress, listening
from samcore.speed.advice import conclude
from samcore.speed.bench import Bench, Wanted
from samcore.speed.quiet import judge
from samcore.speed.record import STAGES, BenchRecord
from tests.samcore.speed.conftest import little_work

LITTLE = ["bench", "--model", "nano", "--image-size", "64", "--objects", "2,1", "--seconds", "9999"]
QUIET, BUSY = (judge(others_cores=cores, cores=2, probes_s=[1.0]) for cores in (0.0, 1.5))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of the run is written."""
    return tmp_path_factory.mktemp("bench") / "bench.html"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> BenchRecord:
    """A benchmark by the library, of a machine that was quiet, let us say."""
    spec = resolve_model("nano", image_size=64, cache_dir=tmp_path_factory.mktemp("cache"))
    bench = Bench([Wanted(spec, choose_compute("cpu", "float32"))], objects=[2], seconds=9999)
    with little_work():
        bench.run()
        return bench.record().model_copy(update={"busyness": QUIET})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "nope"], "unknown model 'nope'"),
        (["--model", "nano", "--model", "sam2.1-huge"], "unknown model 'sam2.1-huge'"),
        (["--model", "hf:/nowhere/at/all"], "no folder /nowhere/at/all"),
        (["--model", "nano", "--image-size", "100"], "must be a multiple of 32"),
        (["--model", "nano", "--image-size", "big"], "--image-size: wanted whole numbers"),
        (["--model", "nano", "--objects", "0"], "from 1 to 200, got 0"),
        (["--model", "nano", "--objects", "1,500"], "from 1 to 200, got 1,500"),
        (["--model", "nano", "--objects", "few"], "--objects: wanted whole numbers"),
        (["--model", "nano", "--seconds", "0"], "--seconds: wanted a number above 0"),
        (["--model", "nano", "--fps", "-1"], "--fps: wanted a number above 0"),
        (["--model", "nano", "--device", "cuda:99"], "device cuda:99 asked for"),
        (["--model", "nano", "--dtype", "int8"], "'int8' is not one of"),
        (["--model", "nano", "-o", "no/folder/x.html"], "no folder"),
        (["--model", "nano", "-o", ".", "--force"], "is a folder"),
        (["--model", "nano", "-o", "s3://bucket/x.html"], "--output is a path of this machine"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, said, capsys):
    """Exit code 2 before anything is measured; the line names what was wanted."""
    assert run(["bench", *options]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("longtake: ")
    assert said in line


def test_a_record_for_programs_and_a_page(page, capsys):
    """`--json` prints the record and nothing else, and the page is written; the exit code is 0, or
    on a busy machine 2, with the reason. A page that is there is not replaced."""
    with little_work():
        code = run([*LITTLE, "--fps", "0.001", "--json", "-o", str(page)])

    captured = capsys.readouterr()
    found = BenchRecord.model_validate_json(captured.out)
    assert code == (2 if found.busyness.reason else 0)
    assert ("no conclusions: " in captured.err) == bool(found.busyness.reason)
    assert bool(found.choices) == (not found.busyness.reason)
    assert found.complete
    assert {one.objects for one in found.setups[0].measured} == {None, 1, 2}
    assert 'id="plot-time-0"' in page.read_text()
    before = page.read_bytes()
    assert run([*LITTLE, "-o", str(page)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert page.read_bytes() == before


def test_ctrl_c_shows_what_was_measured(capsys):
    """The signal comes while the memory encoder is measured: exit code 130, a record of the stages
    before it, and one line that promises nothing more."""

    def press(progress: Progress) -> None:
        if progress.note.startswith("memory encoder"):
            os.kill(os.getpid(), signal.SIGINT)

    with little_work(), listening(press):
        assert run([*LITTLE, "--json"]) == 130

    captured = capsys.readouterr()
    found = BenchRecord.model_validate_json(captured.out)
    assert not found.complete
    assert [one.stage for one in found.setups[0].measured][-1] == "mask decoder"
    last = captured.err.splitlines()[-1]
    assert last == "longtake: stopped; what was measured until then is all there is"


def test_a_person_reads_a_table(record):
    """A row a stage; limits, frames a second, pictures, memory, and what to choose."""
    lines = list(bench_lines(conclude(record, fps=1e-3)))
    text = "\n".join(lines)

    for stage in set(STAGES) - {"images"}:
        assert re.search(rf"^{stage}\s+\d+\.\d\d", text, re.MULTILINE), stage
    assert re.search(r"^image encoder .* \d+%$", text, re.MULTILINE)
    assert re.search(r"^frames/s\s+\d", text, re.MULTILINE)
    assert re.search(r"^images/s through the encoder: \d.* best by \d", text, re.MULTILINE)
    assert "peak memory: " in text
    assert lines[-1].startswith(
        "0.001 frames/s of 2 objects: --model nano --image-size 64 --dtype float32"
    )


def test_a_table_of_few_stages_is_one(record):
    """Stopped early, there is nothing for any number of objects."""
    setup = record.setups[0]
    few = tuple(one for one in setup.measured if one.objects is None and one.stage != "images")
    early = record.model_copy(
        update={"complete": False, "setups": (setup.model_copy(update={"measured": few}),)}
    )
    assert re.search(r"^image encoder +\d+\.\d\d", "\n".join(bench_lines(early)), re.MULTILINE)


def test_a_busy_machine_gets_numbers_and_no_conclusions(record):
    """The table stays, without limits and without choices, and the command ends with the reason."""
    busy = conclude(record.model_copy(update={"busyness": BUSY}), fps=1e-3)
    text = "\n".join(bench_lines(busy))

    assert "whole tracking" in text
    assert "LIMIT" not in text
    assert "--model" not in text
    assert "best by" not in text
    with pytest.raises(InputError, match=r"no conclusions: other processes kept 1\.5 of 2 cores"):
        Finished(busy, None).end()
    with pytest.raises(StoppedForGood, match="stopped; what was measured"):
        Finished(busy, Terminated()).end()
