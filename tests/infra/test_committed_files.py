"""What must not be in any committed file."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REGISTRIES = ["py" + "pi.", "python" + "hosted.", "download.py" + "torch.", "conda." + "anaconda."]
"""In two halves each: this file is looked at, too."""
HOMES = ["/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "C:\\\\Us" + "ers", "/wo" + "rk/"]


def committed() -> list[Path]:
    """Files that are in git or will be, or, without git, all but what git would ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    try:
        paths = committed()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    assert ROOT / "pyproject.toml" in paths
    return {
        str(path.relative_to(ROOT)): path.read_text(errors="replace")
        for path in paths
        if b"\0" not in path.read_bytes()[:8192]
    }


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_registry_is_named(texts, host):
    """Whoever installs from a mirror must not be sent elsewhere by a file of ours."""
    assert [name for name, text in texts.items() if host in text] == []


@pytest.mark.parametrize("home", HOMES)
def test_no_path_of_a_developer_is_named(texts, home):
    """A path that is there on one machine only is a bug on all others."""
    # Inside a longer path or URL (`github.com/home/…`) it is none.
    pattern = re.compile(r"(?<![\w.\-}])" + re.escape(home))

    assert [name for name, text in texts.items() if pattern.search(text)] == []


def test_lock_files_stay_out(texts):
    """A lock file records the registry that one machine used."""
    assert "uv.lock" not in texts
