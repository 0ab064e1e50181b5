"""What a command imports, and how."""

import gc
import subprocess
import sys
from types import ModuleType

import pytest

from flows.commands.imports import much_imported

LATE = {"boto3", "hydra", "jinja2", "plotly"}
"""For buckets, models of the package sam2, and reports."""


def test_nothing_is_collected_while_much_is_imported() -> None:
    """Neither in the block, nor from what was imported in it, later; then all is as before."""
    frozen = gc.get_freeze_count()
    try:
        with much_imported():
            assert not gc.isenabled()
            kept = [[place] for place in range(1000)]
            sys.modules["imported_by_this_test"] = ModuleType("imported_by_this_test")
            with much_imported():
                pass
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        del sys.modules["imported_by_this_test"]
        gc.unfreeze()


def test_nothing_is_kept_where_nothing_new_is_imported() -> None:
    """A command of many runs imports all of it once, and then leaves nothing behind."""
    frozen = gc.get_freeze_count()
    with much_imported():
        pass
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_collection_goes_on_when_an_import_fails() -> None:
    """A module that is not there is no reason to leak from then on."""
    with pytest.raises(ImportError), much_imported():
        raise ImportError("no such module")
    gc.unfreeze()
    assert gc.isenabled()


def test_the_flow_imports_only_what_all_runs_need() -> None:
    """What only some runs need takes tenths of a second, and waits until they do."""
    code = "import sys, flows.segment_video; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "torch" in imported
    assert not LATE & imported
