"""One model a process, loaded once, freed before the next one."""

import gc
import importlib
import pickle
import shutil
import threading
import weakref
from pathlib import Path

import pytest
import torch

from samcore.errors import InputError, ModelError
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model, unload_model
from samcore.models.registry import ENGINE, resolve_model
from samcore.models.sam2 import adapter

CPU = choose_compute("cpu", "float32")


@pytest.fixture(autouse=True)
def nothing_loaded():
    unload_model()
    yield
    unload_model()


def random_tiny(tmp_path: Path, *, image_size: int = 64):
    return resolve_model("random-tiny", image_size=image_size, cache_dir=tmp_path)


def test_equal_requests_share_one_model(tmp_path):
    """An equal spec, made anew, gets the same object, which says what it is."""
    model = load_model(random_tiny(tmp_path), CPU)

    assert load_model(random_tiny(tmp_path), choose_compute("cpu", "auto")) is model
    assert model.facts.fingerprint == random_tiny(tmp_path).fingerprint
    assert model.facts.image_size == 64


@pytest.mark.parametrize("plain", [True, False])
def test_the_engine_that_was_asked_for_is_loaded(tmp_path, plain):
    """The switch reaches the model."""
    spec = resolve_model("random-tiny", image_size=64, cache_dir=tmp_path, plain_engine=plain)

    assert load_model(spec, CPU).plain is plain


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_is_compiled_where_that_was_asked_for(tmp_path, compiled):
    """The switch reaches the model; a machine that cannot compile is told so before it is built."""
    spec = resolve_model("random-tiny", image_size=64, cache_dir=tmp_path, compile=compiled)
    options = importlib.import_module("torch._inductor.config")
    if compiled and shutil.which("g++") is None:
        pytest.skip("there is no g++ here")

    assert (load_model(spec, CPU)._compiled is not None) is compiled

    unload_model()
    if compiled:
        without = options.patch({"cpp.cxx": ("no-such-compiler",)})
        with without, pytest.raises(InputError, match="compile needs a C"):
            load_model(spec, CPU)


def test_another_version_s_engine_is_refused(tmp_path):
    """What another version began is not gone on with in other arithmetic."""
    spec = random_tiny(tmp_path).model_copy(update={"engine": ENGINE + 1})

    with pytest.raises(ModelError, match=rf"engine {ENGINE + 1}; this one has {ENGINE}"):
        load_model(spec, CPU)


def test_threads_that_start_together_load_once(tmp_path, monkeypatch):
    """All get the one object, however many ask at the same time."""
    builds = []
    real_build = adapter.build_model

    def counted(*args, **kwargs):
        builds.append(args)
        return real_build(*args, **kwargs)

    monkeypatch.setattr(adapter, "build_model", counted)
    spec, models = random_tiny(tmp_path), []
    threads = [
        threading.Thread(target=lambda: models.append(load_model(spec, CPU))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(models) == 4
    assert len({id(model) for model in models}) == 1
    assert len(builds) == 1


def test_the_old_model_is_gone_before_the_new_one_is_built(tmp_path, monkeypatch):
    """A device need never have room for two, and nothing keeps the old weights alive."""
    old = weakref.ref(load_model(random_tiny(tmp_path), CPU))
    seen = []
    real_build = adapter.build_model

    def watching(*args, **kwargs):
        # Without this collector's help: the loader must have done all by itself.
        seen.append(old())
        return real_build(*args, **kwargs)

    monkeypatch.setattr(adapter, "build_model", watching)
    gc.disable()
    try:
        load_model(random_tiny(tmp_path, image_size=96), CPU)
    finally:
        gc.enable()

    assert seen == [None]


def test_another_precision_is_another_model(tmp_path):
    """The same weights for other arithmetic are not the cached object."""
    model = load_model(random_tiny(tmp_path), CPU)

    assert load_model(random_tiny(tmp_path), choose_compute("cpu", "bfloat16")) is not model


def test_unloading_a_model_frees_its_memory(tmp_path):
    """After unload no model is alive; unloading nothing is no error."""
    model = weakref.ref(load_model(random_tiny(tmp_path), CPU))

    unload_model()
    unload_model()

    assert model() is None


def test_a_model_that_cannot_be_loaded_leaves_the_loader_usable(tmp_path):
    """After an error the next request works."""
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no checkpoint")
    spec = resolve_model("sam2.1-tiny", checkpoint=broken, image_size=64, cache_dir=tmp_path)
    with pytest.raises(ModelError, match=r"broken\.pt"):
        load_model(spec, CPU)

    assert load_model(random_tiny(tmp_path), CPU).facts.image_size == 64


def test_equal_seeds_give_equal_weights(tmp_path):
    """A fingerprint of random weights means the same numbers in every process."""
    frames = torch.zeros(1, 64, 64, 3, dtype=torch.uint8).numpy()

    def encode() -> torch.Tensor:
        model = load_model(random_tiny(tmp_path), CPU)
        with model.running():
            return model.encode_images(model.preprocess(frames))[0].tokens_n1c

    first = encode()
    unload_model()
    torch.manual_seed(7)

    assert torch.equal(first, encode())


def test_two_threads_share_the_kernels_flags(tmp_path):
    """They hold while either runs a model, whoever began or ends first; then they are as before."""
    model = load_model(random_tiny(tmp_path), CPU)
    cudnn = torch.backends.cudnn
    first_ends, first_ended = threading.Event(), threading.Event()

    def flags() -> tuple[bool, bool, bool]:
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32

    def run_first(began: threading.Event) -> None:
        with model.running():
            began.set()
            assert first_ends.wait(60)
        first_ended.set()

    with cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        began = threading.Event()
        thread = threading.Thread(target=run_first, args=(began,))
        thread.start()
        try:
            assert began.wait(60)
            with model.running():
                assert flags() == (True, False, False)
                first_ends.set()
                assert first_ended.wait(60)
                assert flags() == (True, False, False)
        finally:
            first_ends.set()
            thread.join()
        assert flags() == (False, True, True)


def test_an_error_leaves_no_flags_behind(tmp_path):
    """A model that fails puts the process's flags back, too."""
    model = load_model(random_tiny(tmp_path), CPU)
    before = torch.backends.cudnn.deterministic
    with pytest.raises(ValueError, match="failed"), model.running(), model.running():
        raise ValueError("failed")
    assert torch.backends.cudnn.deterministic == before


class _MakesAFile:
    """What an attacker would put in a checkpoint: unpickling it calls something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["torch", "torch-legacy", "pickle", "named safetensors"])
def test_a_checkpoint_cannot_run_code(tmp_path, form):
    """A checkpoint whose pickle would create a file is refused, and the file is not created."""
    target = tmp_path / "created"
    checkpoint = tmp_path / ("evil.safetensors" if form == "named safetensors" else "evil.pt")
    evil = {"model": {"weight": _MakesAFile(target)}}
    if form.startswith("torch"):
        torch.save(evil, checkpoint, _use_new_zipfile_serialization=form == "torch")
    else:
        checkpoint.write_bytes(pickle.dumps(evil))
    spec = resolve_model("sam2.1-tiny", checkpoint=checkpoint, image_size=64, cache_dir=tmp_path)

    with pytest.raises(ModelError, match="evil"):
        load_model(spec, CPU)

    assert not target.exists()


def test_the_malicious_checkpoint_is_malicious(tmp_path):
    """What the test above refuses does create the file where a careless reader loads it."""
    pickle.loads(pickle.dumps(_MakesAFile(tmp_path / "created")))

    assert (tmp_path / "created").exists()
