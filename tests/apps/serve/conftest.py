from collections.abc import Iterator

import pytest

from allinone.apps.search import VideoIndex, Windows
from allinone.apps.serve.server import background
from allinone.apps.serve.service import Service
from allinone.model.heads import MLMHead
from serving import LIMITS, ODD_NAME, Served
from tiny import HEADS, tiny_predictor, write_videos


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
    service = Service(index, LIMITS)
    with background(service) as url:
        yield Served(url, service, folder)
