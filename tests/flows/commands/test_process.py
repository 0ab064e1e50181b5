"""How a command's process ends."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
COMMAND = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)  # as a library's destructor that fails
from flows.cli import main
sys.argv = ["longtake", *sys.argv[1:]]
main()
"""


def _run(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_library_that_fails_at_exit_changes_nothing() -> None:
    """What a library does to a process that has done its work is not what the command says."""
    process = _run("--version")
    assert process.stdout.startswith("longtake ")
    assert process.returncode == 0
    process = _run("--nonsense")
    assert "No such option" in process.stderr
    assert process.returncode == 2
