"""The Prefect server that a run uses."""

import socket

import pytest
from prefect.settings import PREFECT_API_URL, Settings, temporary_settings

from flows import terminal
from tests.flows.toy import ROOT


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/api", "127.0.0.1/api"])
def test_configured_server_that_is_gone_is_one_sentence(url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = url.format(port=free.getsockname()[1])
    settings = {PREFECT_API_URL: url}
    with (
        temporary_settings(settings),
        pytest.raises(terminal.ServerError, match="but no Prefect server answers there") as error,
        terminal.server(),
    ):
        pass
    assert "\n" not in str(error.value)


def test_a_server_of_the_project_keeps_its_leases_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect reads pyproject.toml in the folder where the server is started."""
    monkeypatch.chdir(ROOT)
    concurrency = Settings().server.concurrency
    assert concurrency.lease_storage == "prefect.server.concurrency.lease_storage.filesystem"


def test_a_temporary_server_that_is_too_slow_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("Timed out while attempting to connect.\nstdout: ...")

    monkeypatch.setattr("prefect.server.api.server.SubprocessASGIServer.start", start)
    with pytest.raises(terminal.ServerError, match=r"not start within .* s \(Timed out") as error:
        terminal.start_temporary_server()
    assert "\n" not in str(error.value)
