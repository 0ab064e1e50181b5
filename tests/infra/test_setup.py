"""The set-up scripts, run for real on a project without dependencies, and without network."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("bash", "env", "dirname", "readlink", "sed", "head", "cat", "rm", "mkdir", "mv", "id")
"""What the scripts may take for granted on any machine."""

PYPROJECT = """\
[project]
name = "small"
version = "0"
requires-python = ">=3.10"
[project.optional-dependencies]
cli = []
dev = []
[tool.uv]
package = false
"""
LONGTAKE = '#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\nexit 7\n'


@dataclass(frozen=True)
class Checkout:
    root: Path
    """A copy of the scripts in a folder whose name has spaces."""
    bin: Path
    """The only folder on the PATH."""

    def run(self, script: str, *arguments: str, cwd: Path | None = None, **environment: str):
        return subprocess.run(
            [self.root / script, *arguments],
            cwd=cwd or self.root,
            env={
                "PATH": str(self.bin),
                "HOME": str(self.root.parent / "home"),
                # uv's own Pythons, too, would come over the network.
                "UV_OFFLINE": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def offer(self, name: str, target: str | Path) -> None:
        (self.bin / name).symlink_to(target)

    def offer_script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (self.bin / name).chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "my long take"
    shutil.copytree(ROOT / "infra", root / "infra")
    shutil.copytree(ROOT / ".ci", root / ".ci")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "bin").mkdir()
    made = Checkout(root, tmp_path / "bin")
    for name in COMMANDS:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"this machine has no {name}")
        made.offer(name, found)
    return made


@pytest.fixture(scope="session")
def uv() -> Path:
    """uv's program itself: on the PATH may be a version manager's script, which needs more."""
    command = shutil.which("uv") or str(ROOT / ".uv" / "ready" / "bin" / "uv")
    # uv tells its children where it is.
    ask = ["python", "-c", "import os; print(os.environ['UV'])"]
    try:
        done = subprocess.run(
            [command, "run", "--no-project", "--offline", "--python", sys.executable, *ask],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no uv that runs here: {error}")
    return Path(done.stdout.strip())


@pytest.fixture
def with_uv(checkout, uv):
    """The same, with uv and this Python on the PATH."""
    checkout.offer("uv", uv)
    checkout.offer("python3", Path(sys.executable).resolve())
    return checkout


def set_up(checkout: Checkout, *extra: str) -> None:
    """Set up, and put a program in the place of Longtake's."""
    done = checkout.run("infra/setup.sh", *extra)
    assert done.returncode == 0, done.stderr
    program = checkout.root / ".venv" / "bin" / "longtake"
    program.write_text(LONGTAKE)
    program.chmod(0o755)


def test_the_first_run_makes_the_environment_and_says_so(with_uv):
    """A fresh checkout gets .venv; progress is on stderr, nothing on stdout."""
    done = with_uv.run("infra/setup.sh")

    assert done.returncode == 0, done.stderr
    assert (with_uv.root / ".venv" / "bin" / "python").exists()
    assert "done" in done.stderr
    assert done.stdout == ""


def test_the_second_run_is_quick_and_silent(with_uv):
    """With nothing changed a start says nothing, and costs no more than starting a shell that
    starts two small programs: there are no others."""
    set_up(with_uv)
    for path in with_uv.bin.iterdir():
        if path.name not in {"bash", "env", "dirname", "readlink"}:
            path.unlink()

    done = with_uv.run("infra/setup.sh")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_second_run_needs_no_uv(with_uv):
    """Set up once, it works where uv has gone."""
    set_up(with_uv)
    (with_uv.bin / "uv").unlink()
    (with_uv.bin / "python3").unlink()

    assert with_uv.run("infra/setup.sh").returncode == 0


def test_a_changed_pyproject_is_installed_again(with_uv):
    """After an update of the checkout the environment follows by itself."""
    set_up(with_uv)
    (with_uv.root / "pyproject.toml").write_text(PYPROJECT.replace('"0"', '"1"'))

    assert "done" in with_uv.run("infra/setup.sh").stderr
    assert with_uv.run("infra/setup.sh").stderr == ""


def test_a_moved_checkout_gets_a_new_environment(with_uv):
    """An environment holds absolute paths: it is made anew, not used from the old place."""
    set_up(with_uv)
    moved = Checkout(with_uv.root.with_name("moved here"), with_uv.bin)
    with_uv.root.rename(moved.root)

    done = moved.run("infra/setup.sh")

    assert "moved" in done.stderr
    assert done.returncode == 0
    assert not (moved.root / ".venv" / "bin" / "longtake").exists()


def test_a_failed_installation_is_tried_again(with_uv):
    """What cannot be installed is an error each time, never taken for done."""
    (with_uv.root / "pyproject.toml").write_text(
        PYPROJECT.replace("[project.opt", 'dependencies = ["no-such-thing-longtake"]\n[project.opt')
    )

    for _ in range(2):
        done = with_uv.run("infra/setup.sh")
        assert done.returncode == 1
        assert "the installation failed" in done.stderr


STARTED = (
    "flows.cli",
    "flows.commands.run_local",
    "flows.segment_video",
    "prefect.server.api.server",
)


def make_wheel(root: Path, name: str) -> str:
    """A package of three modules that can be installed without network; its source for uv."""
    wheel = root / f"{name}-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for module in ("__init__", "used", "unused"):
            archive.writestr(f"{name}/{module}.py", "")
        info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n"
        archive.writestr(f"{name}-0.dist-info/METADATA", info)
        archive.writestr(f"{name}-0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-0.dist-info/RECORD", "")
    return f'{name} = {{ path = "{wheel.name}" }}\n'


@pytest.fixture
def with_packages(with_uv):
    """The same, with modules of its own that a start imports, and a package to install."""
    for module in STARTED:
        path = with_uv.root.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import other.used\n")
    text = PYPROJECT.replace("[project.opt", 'dependencies = ["other"]\n[project.opt')
    text += "[tool.uv.sources]\n" + make_wheel(with_uv.root, "other")
    (with_uv.root / "pyproject.toml").write_text(text)
    return with_uv


@pytest.fixture
def with_extras(with_uv):
    """The same, with a package for commands and one for tests."""
    text = PYPROJECT.replace("cli = []", 'cli = ["forcli"]')
    text = text.replace("dev = []", 'dev = ["small[cli]", "fordev"]') + "[tool.uv.sources]\n"
    text += make_wheel(with_uv.root, "forcli") + make_wheel(with_uv.root, "fordev")
    (with_uv.root / "pyproject.toml").write_text(text)
    return with_uv


def installed(checkout: Checkout) -> set[str]:
    """Which of the packages of `with_extras` are in the environment."""
    return {path.name for path in checkout.root.glob(".venv/lib/python*/site-packages/for*")}


def test_commands_install_what_running_needs(with_extras):
    """`infra/longtake` leaves out what only the tests need."""
    with_extras.run("infra/longtake", "demo")

    assert installed(with_extras) & {"forcli", "fordev"} == {"forcli"}


def test_tests_add_the_rest_and_commands_leave_it(with_extras):
    """`infra/test` adds what tests need; no later command takes it away, neither with nothing to
    do, nor after an update, nor after an update that failed."""
    both = {"forcli", "fordev"}
    set_up(with_extras)
    with_extras.run("infra/test")
    assert installed(with_extras) & both == both

    done = with_extras.run("infra/setup.sh")
    assert (done.stderr, installed(with_extras) & both) == ("", both)

    pyproject = with_extras.root / "pyproject.toml"
    good = pyproject.read_text()
    pyproject.write_text(good.replace("[project.opt", 'dependencies = ["no-such"]\n[project.opt'))
    assert with_extras.run("infra/setup.sh").returncode == 1
    pyproject.write_text(good.replace('version = "0"', 'version = "1"'))
    assert "done" in with_extras.run("infra/setup.sh").stderr
    assert installed(with_extras) & both == both


def test_set_up_knows_two_extents(with_uv):
    """Anything but cli and dev is refused in one line."""
    done = with_uv.run("infra/setup.sh", "all")

    assert (done.returncode, done.stderr) == (2, "set-up: wanted cli or dev, got all\n")


def test_the_package_imports_nothing_that_only_tests_need():
    """What the three packages import is none of the extra `dev`."""
    text = (ROOT / "pyproject.toml").read_text()
    dev = text.partition("\ndev = [")[2].partition("\n]")[0]
    only_tests = set(re.findall(r'^ *"([a-z][a-z-]*)', dev, re.MULTILINE)) - {"longtake"}
    assert {"pytest", "moto", "mypy"} <= only_tests
    run_time = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    assert only_tests.isdisjoint(re.findall(r'^ *"([a-z][a-z0-9-]*)', run_time, re.MULTILINE))

    imported = set()
    for package in ("samcore", "tasks", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
    owners = packages_distributions()
    assert "prefect" in imported
    assert only_tests.isdisjoint(
        owner.lower() for name in imported for owner in owners.get(name, [])
    )


def test_what_a_start_needs_is_compiled(with_packages):
    """The modules that it imports and no others, with a line for each step; also where Python was
    told to write no bytecode."""
    done = with_packages.run("infra/setup.sh", PYTHONDONTWRITEBYTECODE="1")

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("set-up:   ")] == [
        f"set-up:   {module}" for module in STARTED
    ]
    (package,) = (with_packages.root / ".venv").glob("lib/python*/site-packages/other")
    compiled = {path.name.partition(".")[0] for path in package.rglob("*.pyc")}
    assert compiled == {"__init__", "used"}


def test_what_a_start_needs_is_in_this_checkout():
    """The modules that set-up compiles are those of this tree, or Prefect's."""
    assert [module for module in STARTED if importlib.util.find_spec(module) is None] == []


def test_a_start_that_fails_is_told(with_packages):
    """What is installed but cannot be imported is an error each time, never taken for done."""
    (with_packages.root / "flows" / "commands" / "run_local.py").write_text(
        "raise ImportError('broken')\n"
    )

    for _ in range(2):
        done = with_packages.run("infra/setup.sh")
        assert done.returncode == 1
        assert "ImportError: broken" in done.stderr
        assert "does not start" in done.stderr.splitlines()[-1]


def test_longtake_runs_from_anywhere(with_uv, tmp_path):
    """Arguments, the caller's folder and the exit code pass through, also by a symlink."""
    set_up(with_uv)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "lt").symlink_to(with_uv.root / "infra" / "longtake")

    for script in ("infra/longtake", str(elsewhere / "lt")):
        done = with_uv.run(script, "track", "a b.mp4", cwd=elsewhere)
        assert done.returncode == 7
        assert done.stdout.splitlines() == [str(elsewhere), "track", "a b.mp4"]


def test_an_active_environment_is_left_alone(with_uv, tmp_path):
    """Whoever stands in another virtual environment finds it as it was."""
    mine = tmp_path / "mine"
    mine.mkdir()

    done = with_uv.run("infra/setup.sh", VIRTUAL_ENV=str(mine), UV_PROJECT_ENVIRONMENT=str(mine))

    assert done.returncode == 0
    assert (with_uv.root / ".venv").exists()
    assert list(mine.iterdir()) == []


def test_without_uv_and_python_the_command_to_type_is_told(checkout):
    """Nothing to start from: one line that says what to install."""
    done = checkout.run("infra/longtake", "demo")

    assert done.returncode == 1
    assert "sudo apt-get install -y python3 python3-venv" in done.stderr.splitlines()[-1]
    assert "line " not in done.stderr, "bash itself complained"


def test_a_python_without_pip_and_venv_is_told(checkout):
    """A bare python3, as Debian's: one line that says what to install."""
    checkout.offer_script("python3", "exit 1")

    done = checkout.run("infra/setup.sh")

    assert done.returncode == 1
    assert "neither pip nor venv" in done.stderr.splitlines()[-1]


def test_apt_is_asked_where_that_is_allowed(with_uv):
    """As root, or with sudo that asks nothing, a missing python3 is installed."""
    (with_uv.bin / "python3").unlink()
    log = with_uv.root.parent / "apt.log"
    with_uv.offer_script("sudo", '[[ $1 == -n ]] && shift; exec "$@"')
    with_uv.offer("true", "/bin/true")
    with_uv.offer("ln", shutil.which("ln"))
    with_uv.offer_script(
        "apt-get",
        f'echo "$@" >>"{log}"\n'
        f'[[ $1 == update ]] || ln -s "{Path(sys.executable).resolve()}" "{with_uv.bin}/python3"',
    )

    done = with_uv.run("infra/setup.sh")

    assert done.returncode == 0, done.stderr
    assert "python3" in log.read_text().splitlines()[-1]


def test_a_python_that_is_too_old_is_told(with_uv):
    """The line says which Python is needed and which is here."""
    (with_uv.root / "pyproject.toml").write_text(PYPROJECT.replace("3.10", "3.99"))

    done = with_uv.run("infra/setup.sh")

    assert done.returncode == 1
    here = ".".join(map(str, sys.version_info[:3]))
    assert f"needs Python >=3.99, but this machine has Python {here}" in done.stderr


def test_an_old_uv_is_not_used(checkout):
    """A uv that cannot read this project's settings is passed over for a newer one."""
    checkout.offer_script("uv", 'echo "uv 0.8.3"')

    assert "fetching uv" in checkout.run("infra/setup.sh").stderr


def test_all_checks_are_made(with_uv):
    """`infra/test` runs ruff, mypy and pytest in the project's folder, and fails if one of them
    does; CI runs just that. Tests keep what they compile, whatever the machine's settings say."""
    set_up(with_uv, "dev")
    binaries = with_uv.root / ".venv" / "bin"

    def fake(name, code=0):
        (binaries / name).unlink(missing_ok=True)
        (binaries / name).write_text(
            f'#!/bin/sh\necho {name} "$@"\ntest {name} = python &&'
            f' test -n "$PYTHONDONTWRITEBYTECODE" && exit 4\nexit {code}\n'
        )
        (binaries / name).chmod(0o755)

    for name in ("ruff", "mypy", "python"):
        fake(name)
    keep_none = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = with_uv.run(".ci/run", "-k", "chunks", cwd=with_uv.root.parent, **keep_none)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ruff check",
        "ruff format --check",
        "python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "
        "--max-worker-restart 0 -k chunks",
        "mypy",
    ]

    for name in ("mypy", "python"):
        fake(name, 3)
        done = with_uv.run("infra/test")
        assert done.returncode == 3
        assert done.stdout.splitlines()[-1] == "mypy"
        fake(name)
    fake("ruff", 3)
    done = with_uv.run("infra/test")
    assert done.returncode == 3
    assert "pytest" not in done.stdout


@pytest.mark.parametrize("script", ["infra/setup.sh", "infra/longtake", "infra/test", ".ci/run"])
def test_scripts_can_be_started(script):
    """A clone's scripts run without chmod."""
    assert os.access(ROOT / script, os.X_OK)
