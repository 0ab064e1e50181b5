"""Requests become exact models."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samcore.disk.digests import file_digest
from samcore.disk.sealed import seal_record
from samcore.errors import InputError, ModelError
from samcore.models import registry
from samcore.models.family import model_family
from samcore.models.known import KNOWN_MODELS, Embedded, HubWeights, KnownModel, RemoteWeights
from samcore.models.registry import ModelSpec, list_models, resized_model, resolve_model
from samcore.models.sam2.configs import config_file

ROOT = Path(__file__).parents[3]
TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def small_published(monkeypatch, tmp_path):
    """A published model of a few bytes, on a server of this machine."""
    content = b"published weights" * 1000
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "small.pt").write_bytes(content)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Nothing: the test says what happened."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    model = KnownModel(
        name="small",
        config=TINY,
        weights=RemoteWeights(
            url=f"http://127.0.0.1:{http.server_port}/small.pt",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        ),
        about="of this test",
    )
    monkeypatch.setattr(registry, "KNOWN_MODELS", (*KNOWN_MODELS, model))
    yield model
    http.shutdown()
    http.server_close()
    thread.join()


def test_the_registry_imports_no_torch():
    """Listing models must not cost the seconds that torch and sam2 take."""
    code = (
        "import sys; from pathlib import Path; from samcore.models.registry import list_models;"
        "list_models(Path('nowhere'));"
        "sys.exit(' '.join({'torch', 'sam2', 'httpx', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    "model",
    [m for m in KNOWN_MODELS if not isinstance(m.weights, HubWeights)],
    ids=lambda m: m.name,
)
def test_every_known_model_has_its_configuration(model):
    """The configuration is in the installed package and allows the model's own size."""
    assert config_file(model.config).is_file()
    model_family(model.family).check_image_size(model.config, model.image_size)


@pytest.mark.parametrize(
    "model", [m for m in KNOWN_MODELS if isinstance(m.weights, RemoteWeights)], ids=lambda m: m.name
)
def test_model_names_agree_with_the_published_ones(model):
    """URL, configuration and name are of one generation and one size."""
    generation, size = model.name.split("-", 1)

    assert model.weights.file_name == f"{generation}_hiera_{size.replace('-', '_')}.pt"
    assert f"/{generation}/" in model.config
    assert len(model.weights.sha256 or "") == 64
    assert model.licence == "Apache-2.0"


def test_model_names_are_unique():
    """A name means one model, and so does a digest."""
    assert len({m.name for m in KNOWN_MODELS}) == len(KNOWN_MODELS)
    published = [m.weights.sha256 for m in KNOWN_MODELS if isinstance(m.weights, RemoteWeights)]
    assert len(set(published)) == len(published) == 8


def test_model_list_says_what_is_on_this_machine(small_published, tmp_path):
    """A model is available when its whole file is in the cache, not when a broken one is."""

    def available() -> dict[str, bool]:
        return {entry.name: entry.available for entry in list_models(tmp_path / "cache")}

    assert available()["random-tiny"]
    assert not available()["small"]
    resolve_model("small", cache_dir=tmp_path / "cache")
    assert available()["small"]
    (tmp_path / "cache" / "small.pt").write_bytes(b"half")
    assert not available()["small"]


def test_a_published_model_is_fetched_once(small_published, tmp_path):
    """First use downloads and reports; later ones, and ones without network, find the file."""
    seen = []

    first = resolve_model(
        "small", cache_dir=tmp_path / "cache", on_progress=lambda *p: seen.append(p)
    )
    again = resolve_model("small", cache_dir=tmp_path / "cache", download=False)

    assert first == again
    assert first.checkpoint == tmp_path / "cache" / "small.pt"
    assert seen[-1] == (small_published.weights.size, small_published.weights.size)


def test_the_default_is_never_downloaded_nor_replaced_unasked(tmp_path):
    """Without its checkpoint the error names both ways out; nothing is fetched."""
    with pytest.raises(ModelError) as caught:
        resolve_model(None, cache_dir=tmp_path, download=True)

    assert "--model sam2.1-tiny downloads it" in str(caught.value)
    assert "--model nano" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_the_tiny_model_where_it_is(tmp_path):
    """No name and no checkpoint: the tiny model, once its file is there."""
    default = next(entry for entry in list_models(tmp_path) if entry.name == "sam2.1-tiny")
    with default.path.open("wb") as file:
        file.truncate(default.model.weights.size)

    with pytest.raises(ModelError, match=r"not the published file of sam2\.1-tiny"):
        resolve_model(None, cache_dir=tmp_path)


def test_a_checkpoint_that_cannot_be_had_says_where_to_put_it(tmp_path):
    """A name without its file and no download: the error says which file to put where."""
    with pytest.raises(ModelError) as caught:
        resolve_model("sam2.1-tiny", cache_dir=tmp_path, download=False)

    assert "092824/sam2.1_hiera_tiny.pt" in str(caught.value)
    assert str(tmp_path / "sam2.1_hiera_tiny.pt") in str(caught.value)


@pytest.mark.parametrize("content", [b"short", b"x" * 17_000], ids=["other size", "other bytes"])
def test_another_file_under_a_published_name_is_refused(small_published, tmp_path, content):
    """A damaged or foreign file in the cache is not taken for the model."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "small.pt").write_bytes(content)

    with pytest.raises(ModelError, match="not the published file"):
        resolve_model("small", cache_dir=tmp_path / "cache")


def test_an_embedded_model_needs_no_network(monkeypatch, weights, tmp_path):
    """A model whose weights come with Longtake is one entry more, and always available."""
    model = KnownModel("inside", TINY, Embedded(weights), "of this test", image_size=128)
    monkeypatch.setattr(registry, "KNOWN_MODELS", (model,))

    spec = resolve_model("inside", cache_dir=tmp_path / "cache", download=False)

    assert spec.checkpoint == weights
    assert spec.image_size == 128
    assert list_models(tmp_path / "cache")[0].available


def test_random_weights_need_no_file(tmp_path):
    """The model for trying the machinery is seeded, small and at once there."""
    spec = resolve_model("random-tiny", cache_dir=tmp_path, download=False)

    assert spec.checkpoint is None
    assert spec.seed is not None
    assert spec.image_size == 256


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sam2.1-tny", "did you mean sam2.1-tiny"),
        ("SAM2-Large", "did you mean sam2-large"),
        ("zz", "unknown model 'zz'"),
    ],
)
def test_an_unknown_name_gets_help(tmp_path, name, hint):
    """The error lists what is known and what was probably meant."""
    with pytest.raises(ModelError, match=hint) as caught:
        resolve_model(name, cache_dir=tmp_path)

    assert all(model.name in str(caught.value) for model in KNOWN_MODELS)


def test_a_checkpoint_takes_its_architecture_from_a_name_or_a_configuration(weights, tmp_path):
    """Both ways give the same model."""
    by_name = resolve_model("sam2.1-tiny", checkpoint=weights, cache_dir=tmp_path)
    by_config = resolve_model(None, checkpoint=weights, config=TINY, cache_dir=tmp_path)

    assert by_name == by_config
    assert by_name.checkpoint == weights
    assert by_name.image_size == 1024
    assert by_name.seed is None


@pytest.mark.parametrize(
    ("name", "checkpoint", "config", "error", "told"),
    [
        (None, True, None, InputError, "--config"),
        (None, False, TINY, InputError, "--checkpoint"),
        ("sam2-tiny", False, TINY, InputError, "--checkpoint"),
        ("sam2-tiny", True, TINY, InputError, "not both"),
        (None, True, "configs/sam2.1/sam2.1_hiera_x.yaml", ModelError, "did you mean configs"),
        (None, True, "nowhere.yaml", ModelError, "sam2.1_hiera_l.yaml"),
    ],
)
def test_options_that_do_not_go_together(weights, tmp_path, name, checkpoint, config, error, told):
    """Each wrong combination is one line that names the way out."""
    with pytest.raises(error, match=told) as caught:
        resolve_model(
            name,
            checkpoint=weights if checkpoint else None,
            config=config,
            cache_dir=tmp_path,
        )

    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_named(tmp_path):
    """The path that was asked for is in the error."""
    with pytest.raises(ModelError, match=r"gone\.pt"):
        resolve_model("sam2-tiny", checkpoint=tmp_path / "gone.pt", cache_dir=tmp_path)


@pytest.mark.parametrize("size", [64, 96, 160, 512, 1024, 1536])
def test_image_sizes_that_fit_a_model_are_taken(tmp_path, size):
    """Any multiple of 32 from 64 on is the model's input."""
    spec = resolve_model("random-tiny", image_size=size, cache_dir=tmp_path)

    assert spec.image_size == size


@pytest.mark.parametrize(
    ("size", "better"), [(0, 64), (-32, 64), (32, 64), (65, 64), (100, 96), (1000, 992)]
)
def test_image_sizes_that_do_not_fit_a_model_are_refused(tmp_path, size, better):
    """The error offers a size that would do."""
    with pytest.raises(InputError, match=f"got {size}; {better} would do"):
        resolve_model("random-tiny", image_size=size, cache_dir=tmp_path)


def test_a_configuration_of_ones_own_decides_its_size(weights, tmp_path):
    """Its image size is the default, and its windows are what sizes must fit."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "model: {image_size: 384, image_encoder: {trunk: {window_spec: [12, 4, 8, 4]}}}\n"
    )
    ask = partial(
        resolve_model, None, checkpoint=weights, config=str(path), cache_dir=tmp_path / "cache"
    )

    assert ask().image_size == 384
    assert ask().config == str(path)
    with pytest.raises(InputError, match="multiple of 96"):
        ask(image_size=512)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model: 3\n",
        "a: [\n",
        "model: {image_size: big}\n",
        "model: {a: '${b}'}\n",
        "\0",
        "model: {image_encoder: null}\n",
        "model: {image_encoder: {trunk: [8]}}\n",
        "model: {image_encoder: {trunk: {window_spec: null}}}\n",
    ],
)
def test_a_broken_configuration_is_one_line(weights, tmp_path, text):
    """Whatever is wrong in the file, the error names it and shows no parser's traceback."""
    path = tmp_path / "own.yaml"
    path.write_text(text)

    with pytest.raises(ModelError, match=r"own\.yaml") as caught:
        resolve_model(None, checkpoint=weights, config=str(path), cache_dir=tmp_path)

    assert "\n" not in str(caught.value)


def test_fingerprints_tell_models_apart(weights, tmp_path):
    """Other weights, configuration, size or seed: another fingerprint. Another place: the same."""
    other = tmp_path / "other.pt"
    other.write_bytes(b"other weights")
    moved = tmp_path / "moved.pt"
    shutil.copy(weights, moved)
    own = tmp_path / "own.yaml"
    own.write_text(config_file(TINY).read_text() + "\n# changed\n")
    known = partial(resolve_model, cache_dir=tmp_path / "cache")
    base = known("sam2.1-tiny", checkpoint=weights)

    different = [
        base,
        known("sam2.1-tiny", checkpoint=other),
        known("sam2.1-tiny", checkpoint=weights, image_size=512),
        known("sam2-tiny", checkpoint=weights),
        known(None, checkpoint=weights, config=str(own)),
        known("random-tiny"),
        known("random-tiny", image_size=512),
    ]

    assert len({spec.fingerprint for spec in different}) == len(different)
    assert known("sam2.1-tiny", checkpoint=moved).fingerprint == base.fingerprint
    assert base.fingerprint.startswith("sha256:")


def test_the_engine_is_part_of_the_model(monkeypatch, tmp_path):
    """The plain engine is another model; so is a later version of Longtake's own, also where the
    size is made smaller on the way. The plain one is the same in all versions."""
    known = partial(resolve_model, "nano", cache_dir=tmp_path)
    plain, own = known(plain_engine=True), known()
    assert plain.is_plain
    assert not own.is_plain

    monkeypatch.setattr(registry, "ENGINE", registry.ENGINE + 1)

    assert known(plain_engine=True) == plain
    specs = [plain, own, known()]
    specs += [resized_model(spec, 96) for spec in specs]
    assert len({spec.fingerprint for spec in specs}) == len(specs)
    assert [spec.engine for spec in specs[3:]] == [spec.engine for spec in specs[:3]]


def test_a_compiled_model_is_another_one(tmp_path):
    """Compiling changes last bits, so it is in the fingerprint; without it nothing is changed by
    the option. It does not go with the plain engine."""
    known = partial(resolve_model, "nano", cache_dir=tmp_path)
    compiled, own = known(compile=True), known(compile=False)
    assert compiled.is_compiled
    assert own == known()
    assert len({one.fingerprint for one in (compiled, own, known(plain_engine=True))}) == 3
    assert resized_model(compiled, 96).is_compiled
    assert ModelSpec.model_validate(own.model_dump(exclude={"is_compiled"})) == own
    with pytest.raises(InputError, match="plain_engine and compile: wanted one of them, got both"):
        known(compile=True, plain_engine=True)


def test_a_model_that_names_no_engine_is_plain(tmp_path):
    """A record of a version that had no other engine goes on as it began."""
    plain = resolve_model("nano", cache_dir=tmp_path, plain_engine=True)

    assert ModelSpec.model_validate(plain.model_dump(exclude={"engine"})) == plain


def test_a_digest_is_remembered_until_the_file_changes(tmp_path):
    """A large file is read once; any change of it is seen."""
    path = tmp_path / "large.pt"
    path.write_bytes(b"first")
    make_old(path, seconds=100)
    cache = tmp_path / "cache"
    file_digest(path, cache_dir=cache)
    entries = list((cache / "digests").iterdir())
    assert len(entries) == 1

    # Only a digest that is read back can be changed like this.
    of = json.loads(entries[0].read_text())["of"]
    entries[0].write_bytes(seal_record("f" * 64, of=of))
    assert file_digest(path, cache_dir=cache) == "f" * 64

    path.write_bytes(b"other")
    make_old(path, seconds=50)
    assert file_digest(path, cache_dir=cache) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize("damage", ["", "[]", "null", '{"sha256": 3}', "flipped"])
def test_a_damaged_memory_of_digests_is_not_believed(tmp_path, damage):
    """The file is read again."""
    path = tmp_path / "large.pt"
    path.write_bytes(b"first")
    make_old(path, seconds=100)
    first = file_digest(path, cache_dir=tmp_path)
    (entry,) = (tmp_path / "digests").iterdir()
    entry.write_text(damage.replace("flipped", entry.read_text().replace(first[:8], "0" * 8)))

    assert file_digest(path, cache_dir=tmp_path) == first


def test_a_file_that_just_changed_is_not_remembered(tmp_path):
    """Its next change may have the same time stamp and size."""
    path = tmp_path / "large.pt"
    path.write_bytes(b"first")

    file_digest(path, cache_dir=tmp_path)

    assert not (tmp_path / "digests").exists()


def test_a_cache_that_cannot_be_written_only_costs_time(weights, tmp_path):
    """A file where the cache folder should be does not stop a local checkpoint."""
    make_old(weights, seconds=100)
    (tmp_path / "cache").write_text("in the way")

    spec = resolve_model("sam2-tiny", checkpoint=weights, cache_dir=tmp_path / "cache")

    assert spec.checkpoint == weights


def make_old(path: Path, *, seconds: int) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))
