"""What the benchmarks have in common: an Airflow beside the local provider, and which worker answered."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.airflow_home import AirflowHome
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.stack import Stack

#: Put into Airflow's plugins folder: every answer says which worker it came from.
WORKER_HEADER = """
import os
from airflow.plugins_manager import AirflowPlugin

class SaysWorker:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def with_worker(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
            await send(message)
        await self.app(scope, receive, with_worker)

class Plugin(AirflowPlugin):
    name = "says_worker"
    fastapi_root_middlewares = [{"middleware": SaysWorker, "args": [], "kwargs": {}, "name": "says worker"}]
"""


def migrated_template() -> Path:
    """A migrated database, and the folder of this run around it."""
    folder = Path(tempfile.mkdtemp())
    home = AirflowHome(path=folder / "template", port=stacks.free_port())
    home.path.mkdir()
    home.migrate()
    return home.database


@contextmanager
def running(template: Path, name: str, idp: Handle, *, workers: int = 1, **options: Any) -> Iterator[Stack]:
    """An Airflow that the local provider knows, and whose answers say which worker they came from."""
    folder = template.parent.parent / name
    plugins = folder.with_name(f"{name}-plugins")
    plugins.mkdir()
    (plugins / "says_worker.py").write_text(WORKER_HEADER)
    extra = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins), **options.pop("extra", {})}
    with stacks.running(
        Database.file(template), folder, idp, workers=workers, extra=extra, **options
    ) as stack:
        yield stacks.welcome(stack, idp)
