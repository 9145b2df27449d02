"""Runs the provider on a port, in a thread of this process.

`start` returns when the port is open, so nothing has to wait or guess; `stop` returns within a tenth
of a second, whatever the requests in flight are doing. Nothing is logged: URLs carry codes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from devidp.app import create_app, with_port
from devidp.settings import Settings
from devidp.state import State


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 -- werkzeug's name
        """Nothing: request lines hold codes and states (row O23)."""


@dataclass
class Handle:
    """A running provider. `state` is the same object that the control API changes."""

    url: str
    app: Flask
    state: State
    _server: BaseWSGIServer
    _thread: threading.Thread

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(settings: Settings | None = None) -> Handle:
    """Listen; port 0 takes a free one, and the base URL then names it."""
    settings = settings or Settings()
    server = make_server(
        settings.host, settings.port, Flask("starting"), threaded=True, request_handler=_QuietHandler
    )
    app = create_app(with_port(settings, server.port))
    server.app = app
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="devidp", daemon=True)
    thread.start()
    state = app.extensions["devidp"]
    return Handle(state.base, app, state, server, thread)
