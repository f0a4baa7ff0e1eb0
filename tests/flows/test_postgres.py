"""A Prefect server on Postgres, by one setting. Skipped where Postgres is not installed."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.toy import free_port, running_server, wait_until

POSTGRES = shutil.which("postgres")
USER = "postgres" if os.getuid() == 0 else None
"""Postgres does not run as root."""
pytestmark = pytest.mark.skipif(POSTGRES is None, reason="Postgres is not installed")


@pytest.fixture
def database() -> Iterator[str]:
    """A new Postgres on a free port; yields its address."""
    programs, port = Path(str(POSTGRES)).resolve().parent, free_port()
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder, "data"), Path(folder, "log")
        if USER is not None:
            shutil.chown(folder, USER)
        options: dict[str, Any] = {"user": USER, "cwd": folder}
        initdb = [programs / "initdb", "--auth", "trust", "--username", "concord", data]
        subprocess.run(initdb, check=True, capture_output=True, **options)
        settings = ["-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        with (
            log.open("w") as file,
            subprocess.Popen(
                [programs / "postgres", "-D", data, *settings], stdout=file, stderr=file, **options
            ) as process,
        ):
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: not subprocess.run(ready, check=False).returncode, 60, log.read_text)
            yield f"127.0.0.1:{port}/postgres"
            process.terminate()


def test_a_server_keeps_its_runs_in_postgres(
    environment: dict[str, str], database: str, tmp_path: Path
) -> None:
    address = f"postgresql+asyncpg://concord@{database}"
    setting = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": address}
    with running_server(environment | setting, tmp_path / "server.log") as env:
        flow = httpx.post(f"{env['TOY_API']}/flows/", json={"name": "align"}).json()
        run = httpx.post(
            f"{env['TOY_API']}/flow_runs/", json={"flow_id": flow["id"], "name": "tiny"}
        )
        assert run.is_success, run.text
        assert asyncio.run(names(database)) == ["tiny"]


async def names(database: str) -> list[str]:
    """The names of all flow runs."""
    import asyncpg

    connection = await asyncpg.connect(f"postgresql://concord@{database}")
    try:
        return [row["name"] for row in await connection.fetch("select name from flow_run")]
    finally:
        await connection.close()
