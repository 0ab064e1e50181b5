"""The image and the compose file: valid, without secrets, and with commands that exist."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prefect.settings import PREFECT_HOME, Settings, temporary_settings

from flows.cli import app

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
SECRETS = ("PASSWORD", "SECRET", "AUTH_STRING", "ACCESS_KEY")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file, merge keys resolved."""
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    found: dict[str, Any] = content["services"]
    return found


def run_tool(*args: str) -> subprocess.CompletedProcess[str]:
    """A linter of this environment."""
    tool = Path(sys.executable).parent / args[0]
    return subprocess.run([tool, *args[1:]], capture_output=True, text=True, check=False)


def test_the_image_has_no_lint() -> None:
    """hadolint finds nothing in the Dockerfile."""
    done = run_tool("hadolint", str(DOCKER / "Dockerfile"))

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    """The same linter refuses an image that installs without pinning what it may."""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN sudo apt-get install ffmpeg\n")

    assert run_tool("hadolint", str(bad)).returncode != 0


def test_the_image_is_not_roots_and_says_how_it_is() -> None:
    """The last stage ends as a user without rights, and has a healthcheck."""
    last = (DOCKER / "Dockerfile").read_text().rpartition("\nFROM ")[2]

    assert re.findall(r"^USER (.+)$", last, re.MULTILINE)[-1] == "10001:10001"
    assert "\nHEALTHCHECK " in last


def test_what_the_image_copies_is_there_and_is_let_in() -> None:
    """Every source of a COPY is in the repository and not kept out by .dockerignore."""
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied: list[str] = []
    for line in (DOCKER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied += line.split()[1:-1]

    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in let_in, source


def test_compose_follows_its_specification() -> None:
    """The compose file is valid by the published schema."""
    done = run_tool(
        "check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml")
    )

    assert done.returncode == 0, done.stdout


def test_no_secret_is_in_the_compose_file(services: dict[str, Any]) -> None:
    """Each secret comes from the environment, and its absence is said with what it is for."""
    seen = 0
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if any(part in key for part in SECRETS):
                seen += 1
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {key}"

    assert seen >= 6


def test_the_prefect_server_asks_who_is_there(services: dict[str, Any]) -> None:
    """The server has a password, whoever talks to it has the same, and only this machine can."""
    asked = services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"]

    for name in ("deploy", "listener", "worker"):
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"] == asked
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_a_restart_of_the_server_ends_no_run(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server keeps the leases of running runs in files, which lie in a volume."""
    for name, value in services["server"]["environment"].items():
        if "CONCURRENCY" in name:
            monkeypatch.setenv(name, value)
    module = Settings().server.concurrency.lease_storage
    with temporary_settings({PREFECT_HOME: "/srv/longtake/.prefect"}):
        storage = importlib.import_module(module).ConcurrencyLeaseStorage()

    folders = [volume.partition(":")[2] for volume in services["server"]["volumes"]]
    assert any(storage.storage_path.is_relative_to(folder) for folder in folders)


def test_everything_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    """Whoever is told another service's address at its start waits until that one is there, itself
    or through one that waits; a service that is to be healthy has a healthcheck, and one that is to
    have ended restarts no more than on failure."""
    told = {name: _told(name, service, services) for name, service in services.items()}
    waits = {name: _waits_for(name, services) for name in services}

    # What the commands of Longtake take from elsewhere they ask for again until it is there.
    assert told["server"] == {"database"}
    assert told["buckets"] == {"s3"}
    assert told["listener"] >= {"server", "queue"}
    assert told["worker"] == told["sweeper"] >= {"server", "s3"}
    for name in services:
        needed = told[name] & {"database", "server"} | (told[name] if name == "buckets" else set())
        assert needed <= waits[name], name
    assert {name for name in services if "buckets" in waits[name]} == {"sweeper", "worker"}
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            other = services[needed]
            assert how["condition"] != "service_healthy" or "healthcheck" in other, name
            ends = how["condition"] == "service_completed_successfully"
            assert not ends or other.get("restart") in (None, "on-failure"), name


def _told(name: str, service: dict[str, Any], services: dict[str, Any]) -> set[str]:
    """The other services whose addresses are in a service's environment or command."""
    texts = [*service.get("environment", {}).values(), *service.get("command", [])]
    hosts = {host for text in texts for host in re.findall(r"(?://|@|=)([a-z0-9]+):\d+", str(text))}
    return (hosts & services.keys()) - {name}


def _waits_for(name: str, services: dict[str, Any]) -> set[str]:
    """The services that have begun, or ended, before this one begins."""
    needed = services[name].get("depends_on", {})
    return {*needed, *(other for one in needed for other in _waits_for(one, services))}


def test_the_commands_exist(services: dict[str, Any]) -> None:
    """Each `longtake` command is one, with options that it takes."""
    group = typer.main.get_command(app)
    seen = 0
    for service in services.values():
        command = service.get("command", [])
        if command[:1] != ["longtake"]:
            continue
        seen += 1
        found = group.commands[command[1]]
        # Parses the options and does not run; a wrong one raises.
        found.make_context(command[1], list(command[2:]))

    assert seen == 4  # deploy, listen, and two workers


def test_the_queue_is_the_one_that_is_listened_to(services: dict[str, Any]) -> None:
    """The listener's queue is made by the queue server, with dead letters."""
    url = services["listener"]["command"][3]
    name = url.rpartition("/")[2]
    content = (DOCKER / "elasticmq.conf").read_text()

    assert re.search(rf"^\s*{name} {{", content, re.MULTILINE)
    assert f'name = "{name}-dead-letters"' in content
    assert re.search(rf"^\s*{name}-dead-letters {{", content, re.MULTILINE)
