"""A run leaves no secret behind: not in what it says, writes, publishes or tells Prefect."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from samcore.disk.files import file_record
from samcore.errors import InputError
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import FaultProxy, Refuse, Request
from tests.servers.forked_commands import WarmCommands
from tests.servers.swift import SECRET_KEY

Found = list[tuple[str, bytes]]
SIGNED = (b"X-Amz-Signature", b"Signature=", b"AWS4-HMAC", b"X-Amz-Credential")


def _leaks(texts: Found, secrets: tuple[bytes, ...]) -> list[str]:
    return [f"{secret!r} in {name}" for name, text in texts for secret in secrets if secret in text]


def _files(folder: Path) -> Found:
    return [(str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file()]


def _objects(bucket: str) -> Found:
    store = ObjectStore()
    return [
        (info.location.uri, store.get_bytes(info.location, limit=1 << 26))
        for info in store.list(S3Location(bucket, ""))
    ]


@pytest.fixture
def everything(live_database: str, bucket: str, tmp_path: Path) -> Callable[[], Found]:
    """All that there is to find of a run: its disk, its bucket, Prefect's database."""
    database = Path(live_database)
    return lambda: [
        *_files(tmp_path),
        *_objects(bucket),
        *((str(path), path.read_bytes()) for path in database.parent.glob(f"{database.name}*")),
    ]


@pytest.mark.parametrize("fails", [False, True], ids=["completes", "fails"])
def test_nothing_secret_is_left(
    fails: bool,
    warm: WarmCommands,
    bucket: str,
    faults: FaultProxy,
    clip: Path,
    everything: Callable[[], Found],
    tmp_path: Path,
) -> None:
    """From bucket to bucket by signed addresses, with all of Prefect's log shown: neither the key
    of the account nor a signature is in what is printed, logged, written, published or stored,
    whether the run completes or the store refuses it in the middle."""
    source = S3Location(bucket, "clip.mp4")
    ObjectStore().put_file(clip, source, sha256=file_record(clip).sha256)
    if fails:
        faults.set_rule(
            lambda request: Refuse(403, "AccessDenied") if _is_signed(request) else None
        )
    command = warm.start(
        [
            *("track", source.uri, "--box", "1:0:10,10,60,60", "-o", f"s3://{bucket}/out"),
            *("--model", "nano", "--device", "cpu", "--stop", "6", "--no-report", "--verbose"),
        ],
        AWS_ACCESS_KEY_ID="test:tester",
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=faults.endpoint,
        LONGTAKE_CACHE=str(tmp_path / "cache"),
        LONGTAKE_SOURCE_CACHE_BYTES="1",  # too small for the clip: it is read where it is
    )
    code = command.wait(240)
    assert (code != 0) == fails, command.err
    assert any(_is_signed(exchange.request) for exchange in faults.exchanges)

    faults.clear()
    texts = [("stdout", command.out.encode()), ("stderr", command.err.encode()), *everything()]
    assert sum(b"clip.mp4" in text for _, text in texts) >= 2  # the search finds what is there
    # The page of a result has links to it that are signed on purpose, and says so; there is none to
    # the source.
    pages = [item for item in texts if "prefect" in Path(item[0]).name]
    others = [item for item in texts if item not in pages]
    assert len(pages) >= 1
    assert _leaks(others, (SECRET_KEY.encode(), *SIGNED)) == []
    assert _leaks(pages, (SECRET_KEY.encode(), b"clip.mp4?X-Amz", b"clip.mp4?AWSAccess")) == []


def _is_signed(request: Request) -> bool:
    return "Signature=" in request.target


SIGNED_URL = "https://host/dog.mp4?X-Amz-Credential=me&X-Amz-Signature=5ec2e7"


@pytest.mark.parametrize(
    "source",
    [
        SIGNED_URL,
        "https://host/dog.mp4?v=1&TOKEN=5ec2e7",
        "https://host/dog.mp4?sig=5ec2e7",
        "https://me:5ec2e7@host/dog.mp4",
    ],
)
def test_an_address_with_a_secret_is_no_parameter(source: str) -> None:
    """A run's parameters are kept readable: an address that is signed is refused in one line that
    names the way out and does not repeat it, and by the form's schema before it is stored."""
    with pytest.raises(InputError) as caught:
        validate_request(source=source, destination="out", prompts="a.json")
    assert "5ec2e7" not in str(caught.value)
    with pytest.raises(ValueError, match="source") as raised:
        SegmentRequest(source=source, destination="out", prompts="a.json")
    assert "5ec2e7" not in str(raised.value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"source": source, "destination": "out"}, SegmentRequest.model_json_schema()
        )


@pytest.mark.parametrize(
    "source", ["https://host/dog.mp4?v=1&monkey=2", "s3://bucket/a?token=1", "a?key=1.mp4"]
)
def test_an_address_without_a_secret_is(source: str) -> None:
    """Other queries, and question marks in names, are taken."""
    request = validate_request(source=source, destination="out", prompts="a.json")
    jsonschema.validate(json.loads(request.model_dump_json()), SegmentRequest.model_json_schema())


def test_a_signed_address_is_not_printed(tmp_path: Path) -> None:
    """The command line refuses it, too, and prints neither it nor a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "track", SIGNED_URL, "--automatic", "1", "-o", "out"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "5ec2e7" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
