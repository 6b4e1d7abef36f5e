"""A server on a free port of this machine, for tests of the page and of the HTTP API."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from allinone.app.api import build_app
from allinone.app.limits import Limits
from allinone.app.server import listen
from allinone.app.service import Service

ODD_NAME = "<img src=x onerror=alert(1)>${alert(1)}{{7*7}} 'so' & \U0001f415.mp4"
LIMITS = Limits(max_upload_mb=1, max_body_kb=64, body_sec=2, upload_sec=2, max_waiting=2, wait_sec=5)


@dataclass(frozen=True)
class Served:
    url: str
    service: Service
    folder: Path


@contextmanager
def serving(service: Service, folder: Path, password: str | None = None) -> Iterator[Served]:
    with listen("127.0.0.1", 0) as listening, ThreadPoolExecutor(1) as builder:
        app = builder.submit(build_app, service, password=password).result()  # where Playwright's event loop is not
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", service, folder)
        finally:
            server.should_exit = True
            thread.join()
