"""How a command runs the flow."""

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.commands.run_local import _after_check, api_of
from samcore.progress import Progress
from tasks.request.early_checks import READING


class Server:
    """Takes the place of the embedded server."""

    password = "longtake:secret"

    def url(self) -> str:
        return "http://127.0.0.1:1/api"


def test_a_run_at_the_embedded_server_sends_no_heartbeats() -> None:
    """Nobody looks for them there, and their thread holds up the end of the run for a second."""
    with temporary_settings({PREFECT_API_URL: None}):
        before = get_current_settings().flows.heartbeat_frequency
        with api_of(Server()):  # type: ignore[arg-type]  # its place
            settings = get_current_settings()
            assert settings.api.url == "http://127.0.0.1:1/api"
            assert settings.flows.heartbeat_frequency is None
        assert before is not None
        assert get_current_settings().flows.heartbeat_frequency == before


def test_a_server_that_is_named_is_asked_before_what_takes_long() -> None:
    """A download, or the scan of a long video; not while a file is read, nor for a short scan: a
    result that is there already needs no server."""
    asked: list[int] = []
    shown: list[Progress] = []
    show = _after_check(shown.append, lambda: asked.append(len(shown)))
    for progress in (
        Progress(READING, 5_000, 9_000, "MB"),
        Progress("scanning the video", 999, None, "frames"),
        Progress("scanning the video", 1000, None, "frames"),
        Progress("downloading the video", 1, 9_000, "MB"),
    ):
        show(progress)
    assert len(shown) == 4
    assert asked == [2, 3]
