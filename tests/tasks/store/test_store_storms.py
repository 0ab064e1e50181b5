"""A thousand operations on object storage that meet faults by chance: nothing is lost, nothing is
half there, and nobody sees a result that is a mix of two."""

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from samcore.errors import StorageError, TransientStorageError
from samcore.result.manifest import MANIFEST, Manifest
from tasks.results.bucket import BucketResults
from tasks.store import download, upload
from tasks.store.locations import S3Location
from tasks.store.object_store import ClientOptions, ObjectStore
from tests.servers.faults import (
    PASSING,
    SLOW_DOWN,
    Break,
    Corrupt,
    Fault,
    FaultProxy,
    Request,
    Slow,
    Storm,
)
from tests.servers.swift import SwiftServer
from tests.tasks.conftest import FILES, Made

MIB = 1 << 20
SLOW = pytest.mark.slow
QUICK = [
    *(fault for fault in PASSING if fault != SLOW_DOWN),
    Break("answer", after=300),
    *[Break("answer", after=2100, politely=True)] * 2,
    Corrupt("answer", at=9),
    Corrupt("request", at=9),
]
"""Faults that take no time."""
TIRED = [*QUICK * 8, SLOW_DOWN, Slow(1.2)]
"""Also those that cost a second each."""


def harmful(storm: Storm) -> Callable[[Request], Fault | None]:
    """The storm without faults that change nothing: those of bodies that are not there."""

    def harms(fault: Fault, request: Request) -> bool:
        if isinstance(fault, Break | Corrupt) and fault.when == "answer":
            return request.method == "GET"
        return not isinstance(fault, Corrupt) or request.body_size > 0

    def choose(request: Request) -> Fault | None:
        while (fault := storm(request)) is not None and not harms(fault, request):
            pass
        return fault

    return choose


def outlive(
    faults: FaultProxy,
    rule: Callable[[Request], Fault | None],
    wanted: int,
    step: Callable[[], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Do operations until so many have met faults, and look without faults after each of them."""
    met = succeeded = failed = 0
    while met < wanted:
        before = faults.num_faults
        faults.set_rule(rule)
        try:
            step()
            succeeded += 1
        except TransientStorageError:
            failed += 1
        faults.set_rule(None)
        check()
        met += faults.num_faults > before
    assert succeeded > 0
    assert failed > 0


class Objects:
    """Operations on five small objects, and on one that goes up in parts."""

    def __init__(
        self, store: ObjectStore, bucket: str, folder: Path, chance: random.Random
    ) -> None:
        """Fills the bucket, without faults."""
        self._store = store
        self._folder = folder
        self._chance = chance
        self._small = [S3Location(bucket, f"k{number}") for number in range(5)]
        self._large = S3Location(bucket, "large")
        # The least that a server takes as a part, and a bit.
        self._contents = [chance.randbytes(5 * MIB + size) for size in (100, 3000)]
        # What may be stored: after a failure, the content before or the one that was to be written.
        self._may: dict[S3Location, set[bytes]] = {
            place: set() for place in (*self._small, self._large)
        }
        self._broken_off: S3Location | None = None
        """What the last download was of, if it failed."""
        for place in self._small:
            self._put(place, chance.randbytes(3000))
        self._upload_in_parts(self._large, b"")

    def step(self) -> None:
        """One of them."""
        steps = [self._upload, self._put, self._read, self._download, self._upload_in_parts]
        (step,) = self._chance.choices(steps, (8, 8, 6, 8, 1))
        place = self._chance.choice(self._small)
        if self._broken_off is not None and self._chance.random() < 0.5:
            step, place = self._download, self._broken_off
        data = self._chance.randbytes(self._chance.randrange(2200, 4000))
        step(place, data)

    def check_all(self) -> None:
        """Without faults: what is there is what may be, also by downloads that go on."""
        for place in self._may:
            self._download(place, b"")

    def _upload(self, place: S3Location, data: bytes) -> None:
        (self._folder / "up").write_bytes(data)
        self._may[place] |= {data}
        sha256 = hashlib.sha256(data).hexdigest()
        self._store.put_file(self._folder / "up", place, sha256=sha256)
        self._may[place] = {data}

    def _upload_in_parts(self, place: S3Location, data: bytes) -> None:
        self._upload(self._large, self._chance.choice(self._contents))

    def _put(self, place: S3Location, data: bytes) -> None:
        self._may[place] |= {data}
        self._store.put_bytes(place, data)
        self._may[place] = {data}

    def _read(self, place: S3Location, data: bytes) -> None:
        self._found(place, self._store.get_bytes(place, limit=4000))

    def _download(self, place: S3Location, data: bytes) -> None:
        # What an earlier try of this object left is gone on with.
        path = self._folder / f"down-{place.name}"
        path.unlink(missing_ok=True)
        self._broken_off = place
        self._store.get_file(place, path)
        self._broken_off = None
        self._found(place, path.read_bytes())

    def _found(self, place: S3Location, data: bytes) -> None:
        assert data in self._may[place]
        self._may[place] = {data}


@pytest.mark.parametrize(
    ("kinds", "seed", "wanted"),
    [
        (QUICK, 0, 40),
        pytest.param(QUICK, 1, 300, marks=SLOW),
        pytest.param(QUICK, 2, 300, marks=SLOW),
        pytest.param(TIRED, 3, 300, marks=SLOW),
    ],
    ids=["quick", "quick, more", "quick, most", "tired"],
)
def test_objects_outlive_a_storm(
    faults: FaultProxy,
    swift: SwiftServer,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: list[Fault],
    seed: int,
    wanted: int,
) -> None:
    """Uploads, in parts too, and downloads, which go on where they broke off: what succeeds holds,
    what fails says so and left either the old content or the new one, never anything else."""
    monkeypatch.setattr(upload, "_PART", 5 * MIB)
    monkeypatch.setattr(download, "_BLOCK", 1 << 10)  # so that also a small file goes on
    options = ClientOptions(retry_mode="standard", attempts=2, read_timeout_s=1.0)
    objects = Objects(ObjectStore(options=options), bucket, tmp_path, random.Random(seed))

    outlive(faults, harmful(Storm(seed, kinds, rate=0.5)), wanted, objects.step)

    objects.check_all()
    gone_on = [item for item in faults.exchanges if "range" in item.request.headers]
    assert len(gone_on) >= wanted // 50
    # Nobody knows of an upload whose id was lost, or whose end was; a sweep finds all of them.
    ObjectStore().abort_stale_uploads(S3Location(bucket, ""), older_than_s=-60)
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket)
    objects.check_all()


class Results:
    """Operations on one destination, to which several runs publish."""

    def __init__(
        self,
        store: ObjectStore,
        clean: ObjectStore,
        prefix: S3Location,
        folder: Path,
        made: Iterable[Made],
        chance: random.Random,
    ) -> None:
        """The destination is empty.

        Args:
            store: Meets faults.
            clean: Meets none.
            prefix: The destination.
            folder: For files of this machine.
            made: What is published.
            chance: Chooses.
        """
        self._results = BucketResults(prefix, store, local=folder / "writer")
        self._reader = BucketResults(prefix, clean, local=folder / "reader")
        self._clean = clean
        self._prefix = prefix
        self._folder = folder
        self._made = list(made)
        self._turn = self._made[0]
        self._chance = chance
        self._notes: set[bytes] = set()
        self._may: set[str | None] = {None}
        self._must: Manifest | None = None
        """What is there for certain: what the last change said, if it did not fail."""

    def step(self) -> None:
        """One of them."""
        steps = [self._publish, self._add, self._read, self._fetch]
        (step,) = self._chance.choices(steps, (3, 6, 1, 1))
        step()

    def check(self) -> None:
        """A reader sees one whole result, byte for byte, or none."""
        manifest = self._reader.read_manifest()
        key = None if manifest is None else manifest.key
        assert key is not None or self._reader.published_key() is None, "it is not whole"
        assert key in self._may
        if self._must is not None:
            assert manifest == self._must
        if manifest is None:
            return
        (made,) = (made for made in self._made if made.manifest.key == key)
        names = {record.name for record in manifest.files}
        assert set(FILES) <= names <= {*FILES, "notes.txt"}
        for record in manifest.files:
            found = self._clean.get_bytes(self._prefix.join(record.name), limit=MIB)
            assert hashlib.sha256(found).hexdigest() == record.sha256
            if record.name == "notes.txt":
                assert found in self._notes
            else:
                assert found == made.files[record.name].read_bytes()

    def publish(self) -> None:
        """Publish the one whose turn it is."""
        made = self._turn
        self._may |= {None, made.manifest.key}
        self._must = None
        self._must = self._results.publish(made.files, made.manifest, check=lambda _found: None)
        assert self._must.key == made.manifest.key
        self._may = {made.manifest.key}

    def _publish(self) -> None:
        # Where the last one's claim is still there, others have to wait for its next try.
        if self._clean.head(self._prefix.join(".longtake/publishing.json")) is None:
            self._turn = self._chance.choice(self._made)
        self.publish()

    def _add(self) -> None:
        """Add a file, or replace it."""
        key = self._turn.manifest.key
        if self._reader.published_key() != key:
            return self.publish()
        note = self._folder / "notes.txt"
        note.write_bytes(self._chance.randbytes(500))
        self._notes.add(note.read_bytes())
        self._must = None
        self._must = self._results.add_files({"notes.txt": note}, key)
        self._notes = {note.read_bytes()}
        assert "notes.txt" in {record.name for record in self._must.files}

    def _read(self) -> None:
        found = self._results.read_manifest()
        assert (found and found.key) in self._may
        assert self._must is None or found == self._must

    def _fetch(self) -> None:
        """Download a file to a machine that has none of them."""
        name = self._chance.choice(FILES)
        machine = self._folder / f"machine-{self._chance.random()}"
        other = BucketResults(self._prefix, self._results._store, local=machine)
        contents = [made.files[name].read_bytes() for made in self._made]
        try:
            found = other.fetch(name).read_bytes()
        except StorageError as error:
            if self._must is not None or isinstance(error, TransientStorageError):
                raise
            return  # nothing is published just now
        assert found in contents


@pytest.mark.parametrize(("seed", "wanted"), [(0, 10), pytest.param(1, 50, marks=SLOW)])
def test_results_outlive_a_storm(
    faults: FaultProxy,
    swift: SwiftServer,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_result: Callable[..., Made],
    seed: int,
    wanted: int,
) -> None:
    """Runs publish, replace each other's results and add files: after each operation, whether it
    succeeded or failed, a reader sees one run's whole result or none; and what was said to be
    published is there, byte for byte."""
    options = ClientOptions(retry_mode="standard", attempts=2)
    store = ObjectStore(options=options)
    monkeypatch.setenv("AWS_ENDPOINT_URL", swift.endpoint)
    made = [make_result(number) for number in range(3)]
    prefix = S3Location(bucket, "out/clip")
    results = Results(store, ObjectStore(), prefix, tmp_path, made, random.Random(seed))

    rule = harmful(Storm(seed, QUICK, rate=0.15))
    outlive(faults, rule, wanted, results.step, results.check)

    results.publish()
    results.check()
    assert ObjectStore().head(prefix.join(MANIFEST)) is not None
