import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from allinone.app.api import build_app
from allinone.app.limits import Limits
from allinone.app.server import listen
from allinone.app.service import Service
from allinone.model.heads import MLMHead
from allinone.search import VideoIndex, Windows
from tiny import HEADS, tiny_predictor, write_videos

ODD_NAME = "<img src=x onerror=alert(1)>${alert(1)}{{7*7}} 'so' & \U0001f415.mp4"
LIMITS = Limits(max_upload_mb=1, max_body_kb=64, body_sec=2, upload_sec=2, max_waiting=2, wait_sec=5)


@dataclass(frozen=True)
class Served:
    url: str
    service: Service
    folder: Path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on a free port: four clips of nine seconds in segments of three, and an index that is empty."""
    folder = tmp_path_factory.mktemp("served")
    videos = write_videos(folder / "videos", 4, num_frames=36, fps=4)
    videos[3].rename(folder / "videos" / ODD_NAME)
    (folder / "secret.txt").write_text("secret")
    model = tiny_predictor(heads={**HEADS, "mlm": MLMHead.Config()})
    index = VideoIndex.open(folder / "my.index", model, Windows(length_sec=3))
    assert index.add(folder / "videos").added == 4
    yield from serving(Service(index, LIMITS), folder)


def serving(service: Service, folder: Path, password: str | None = None) -> Iterator[Served]:
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(build_app(service, password=password), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", service, folder)
        server.should_exit = True
        thread.join()
