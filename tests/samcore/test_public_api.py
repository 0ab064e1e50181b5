"""What `import samcore` gives a programmer."""

import subprocess
import sys

import samcore


def test_samcore_gives_every_name_of_its_list():
    """All that is offered can be imported, and is what it says."""
    for name in samcore.__all__:
        assert getattr(samcore, name).__name__ == name
    assert set(samcore.__all__) <= set(dir(samcore))


def test_importing_samcore_does_not_import_torch():
    """A command that only prints its help does not wait for torch."""
    code = "import sys, samcore, samcore.errors, samcore.chunks; print('torch' in sys.modules)"

    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert printed.stdout.strip() == "False"
