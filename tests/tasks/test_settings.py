"""The environment is read in one place, and what a person has set stays."""

import itertools
import os
from datetime import timedelta
from pathlib import Path

import pytest

from flows.server.recovery import rest_setting
from samcore.errors import InputError
from tasks.settings import (
    PREFECT_DEFAULTS,
    load_settings,
    prefect_server_settings,
    set_defaults,
    sets_allocator,
)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"LONGTAKE_CACHE": "/a/b"}, "/a/b"),
        ({"LONGTAKE_CACHE": "", "XDG_CACHE_HOME": "/c"}, "/c/longtake"),
        ({"LONGTAKE_CACHE": "", "XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/longtake"),
        ({"LONGTAKE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/longtake"),
    ],
)
def test_settings_find_the_cache_folder(
    environment: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is where the person says, else where the system has its caches."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings().cache_dir == Path(wanted)


def test_settings_bound_the_rest_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes, or what a person says; less than Prefect can wait for is refused."""
    assert load_settings().recovery_rest_s == 300
    monkeypatch.setenv("LONGTAKE_RECOVERY_REST_S", "45")
    assert rest_setting() == timedelta(seconds=45)
    monkeypatch.setenv("LONGTAKE_RECOVERY_REST_S", "9")
    with pytest.raises(InputError, match="at least 10, got 9"):
        load_settings()


def test_when_tracking_begins_before_a_scan_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """If that takes ten seconds more, or what a person says; a word is refused."""
    assert load_settings().early_start_s == 10
    monkeypatch.setenv("LONGTAKE_EARLY_START_S", "0")
    assert load_settings().early_start_s == 0
    monkeypatch.setenv("LONGTAKE_EARLY_START_S", "never")
    with pytest.raises(InputError, match="LONGTAKE_EARLY_START_S must be a whole number"):
        load_settings()


def test_settings_tell_apart_who_needs_a_server_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Commands share the embedded server for the time that is set, unless they would see another
    database or other settings of a server; how much a client logs is no such setting."""
    monkeypatch.delenv("LONGTAKE_SERVER_LINGER_S")
    assert load_settings().server_linger_s == 120
    monkeypatch.setenv("LONGTAKE_SERVER_LINGER_S", "0")
    assert load_settings().server_linger_s == 0

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    seen = [prefect_server_settings()]
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    assert prefect_server_settings() == seen[0]
    (tmp_path / "profiles.toml").write_text('active = "mine"')
    seen.append(prefect_server_settings())
    monkeypatch.setenv("PREFECT_SERVER_EVENTS_RETENTION_PERIOD", "P1D")
    seen.append(prefect_server_settings())
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "other"))
    seen.append(prefect_server_settings())
    assert all(one != other for one, other in itertools.pairwise(seen))


def test_settings_of_ones_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's defaults for a run without server do not replace what is set."""
    name = next(iter(PREFECT_DEFAULTS))
    monkeypatch.setenv(name, "7")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    set_defaults()
    assert os.environ[name] == "7"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_an_allocator_that_somebody_has_set_up_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """By any of glibc's variables."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    assert not sets_allocator()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert sets_allocator()
