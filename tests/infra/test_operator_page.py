"""The page for operators names commands, options and files that exist."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import typer
import yaml
from cfnlint.decode import decode

from flows.cli import app
from samcore.limits import Limits
from samcore.result.manifest import REPORT

INFRA = Path(__file__).parents[2] / "infra"
PAGE = (INFRA / "README.md").read_text()


def longtake_commands() -> list[list[str]]:
    """The command lines of `longtake` in the page's blocks, without their redirections."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["infra/longtake"]:
                kept = [word for word in words[1:] if word != "&" and not re.match(r"\d?>", word)]
                found.append(kept)
    return found


def test_commands_take_their_options() -> None:
    """Every command of Longtake on the page parses as it is written."""
    group = typer.main.get_command(app)
    lines = [words for words in longtake_commands() if words != ["--version"]]

    assert len(lines) >= 5
    for words in lines:
        assert words[0] in group.commands, words
        # Parses and does not run; an unknown option raises.
        group.commands[words[0]].make_context(words[0], words[1:])


def test_every_queue_has_a_worker() -> None:
    """Workers that are started as on the page, or by Compose, take the runs of all deployments."""
    specs = yaml.safe_load((INFRA / "prefect.yaml").read_text())["deployments"]
    queues = {spec["work_pool"]["work_queue_name"] for spec in specs}
    tracks, *more = (spec for spec in specs if spec["name"].startswith(("segment-", "watch-")))
    others = {spec["work_pool"]["work_queue_name"] for spec in specs if spec not in (tracks, *more)}
    assert {spec["work_pool"]["work_queue_name"] for spec in more} == {
        tracks["work_pool"]["work_queue_name"]
    }
    # A look for left runs, or for new videos, does not wait until a video is tracked.
    assert others == queues - {tracks["work_pool"]["work_queue_name"]} != queues
    services = yaml.safe_load((INFRA / "docker" / "compose.yaml").read_text())["services"]
    commands = [" ".join(service.get("command", [])) for service in services.values()]
    for text in (PAGE, "\n".join(commands)):
        assert set(re.findall(r"longtake worker .*--work-queue (\w+)", text)) == queues


def test_nothing_is_told_to_prefects_makers() -> None:
    """Whatever part of Prefect the page starts, the same block, or one before it, has switched its
    telemetry off; the image has that in its environment."""
    off = {"server": "PREFECT_SERVER_ANALYTICS_ENABLED=false", "worker": "DO_NOT_TRACK=1"}
    started = [
        (one.group(1), one.start())
        for one in re.finditer(r"(?:prefect|infra/longtake) (server|worker) (?=start|--)", PAGE)
    ]
    assert {part for part, _ in started} == set(off)
    for part, at in started:
        assert re.search(rf"^export .*{off[part]}", PAGE[:at], re.MULTILINE), part
    image = (INFRA / "docker" / "Dockerfile").read_text()
    assert all(f"    {setting} \\\n" in image for setting in off.values())


def test_operator_page_waits_for_the_report() -> None:
    """The page's `until` ends when the whole result is there: what comes last is the report."""
    waited = re.findall(r"^until aws s3 ls s3://my-results/scene.mp4/(\S+);", PAGE, re.MULTILINE)
    assert waited == [REPORT]


def test_operator_page_names_files_that_are_there() -> None:
    """Every file that the page links to exists."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]

    assert links
    assert [link for link in links if not (INFRA / link).exists()] == []


def test_the_stack_s_names_are_the_template_s() -> None:
    """Each parameter that the page sets, and each output that it asks for, is one of the
    template's; and it sets every parameter that has no default."""
    template, _ = decode(str(INFRA / "aws" / "longtake.yaml"))
    parameters, outputs = template["Parameters"], template["Outputs"]

    given = re.findall(r"ParameterKey=(\w+)", PAGE)
    wanted = re.findall(r"OutputKey=='(\w+)'", PAGE)

    assert given
    assert wanted
    assert [name for name in given if name not in parameters] == []
    assert [name for name in wanted if name not in outputs] == []
    needed = [name for name, content in parameters.items() if "Default" not in content]
    assert [name for name in needed if name not in given] == []


def test_operator_page_names_settings_that_are_read() -> None:
    """Every variable of the page's table is read by Longtake, and the other way round."""
    room = INFRA.parent
    text = (room / "tasks" / "settings.py").read_text()
    limits = {f"LONGTAKE_{field.name.upper()}" for field in fields(Limits)}
    read = limits | set(re.findall(r"LONGTAKE_[A-Z_]+[A-Z]", text))
    named = set(re.findall(r"`(LONGTAKE_[A-Z_]+)`", PAGE.partition("## Limits")[2]))

    assert named <= read
    assert limits <= named
