"""How a command runs the flow."""

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.commands.run_local import _api_of


class Server:
    """Takes the place of the embedded server."""

    password = "longtake:secret"

    def url(self) -> str:
        return "http://127.0.0.1:1/api"


def test_a_run_at_the_embedded_server_sends_no_heartbeats() -> None:
    """Nobody looks for them there, and their thread holds up the end of the run for a second."""
    with temporary_settings({PREFECT_API_URL: None}):
        before = get_current_settings().flows.heartbeat_frequency
        with _api_of(Server()):  # type: ignore[arg-type]  # its place
            settings = get_current_settings()
            assert settings.api.url == "http://127.0.0.1:1/api"
            assert settings.flows.heartbeat_frequency is None
        assert before is not None
        assert get_current_settings().flows.heartbeat_frequency == before
