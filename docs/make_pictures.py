"""Pictures of the page for the documentation, taken in Chromium from a local server.

    make demo
    python docs/make_pictures.py runs/demo/run/joint runs/demo/world/videos --words "a red square goes up"

indexes up to a hundred of the videos in a temporary folder and writes docs/pictures/*.png.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from allinone.apps.search import VideoIndex
from allinone.apps.serve.limits import Limits
from allinone.apps.serve.server import background
from allinone.apps.serve.service import Service
from allinone.inference import load

PICTURES = Path(__file__).resolve().parent / "pictures"
MAX_KB = 150
DESK, PHONE = (900, 700), (390, 760)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint folder")
    parser.add_argument("videos", type=Path, help="a folder of videos")
    parser.add_argument("--words", default="a red square goes up", help="query of the search picture")
    parser.add_argument("--question", default="what shape is it?", help="question about the best hit")
    options = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    model, videos = Path(options.model).resolve(), sorted(options.videos.resolve().glob("*.mp4"))[:100]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # so that no path of this machine is in the pictures
        Path("mine").symlink_to(model)
        index = VideoIndex.open("my.index", load("mine"))
        service = Service(index, Limits())
        take("empty", DESK, service, lambda page: page.wait_for_selector("#results .note"))
        index.add(videos)

        def search(page: Page) -> None:
            page.fill("#query input, #query textarea", options.words)
            page.click("#go")
            page.wait_for_selector("#results article")

        def play(page: Page) -> None:
            search(page)
            page.click("#results .shot >> nth=0")
            page.wait_for_function("document.querySelector('#player video')?.currentTime > 0.2")

        def ask(page: Page) -> None:
            search(page)
            page.click("#results button:text('ask about it') >> nth=0")
            page.wait_for_selector("#chosen figure")
            page.fill("#question input, #question textarea", options.question)
            page.click("#send")
            page.wait_for_selector("#answers table")

        def state(page: Page) -> None:
            page.get_by_role("tab", name="Index").click()
            page.wait_for_selector("#state table")

        for name, size, act in (
            ("search", DESK, search),
            ("play", DESK, play),
            ("ask", DESK, ask),
            ("index", DESK, state),
            ("phone", PHONE, play),
        ):
            take(name, size, service, act)


def take(name: str, size: tuple[int, int], service: Service, act: Callable[[Page], object]) -> None:
    with background(service) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.goto(url)
        act(page)
        page.wait_for_function("[...document.images].every(image => image.complete)")
        page.wait_for_timeout(3000)  # Gradio fades things in
        path = PICTURES / f"{name}.png"
        page.screenshot(path=path)
        browser.close()
    kilobytes = path.stat().st_size / 1000
    print(f"{path}: {kilobytes:.0f} kB")
    if kilobytes > MAX_KB:
        raise ValueError(f"{path}: {kilobytes:.0f} kB; a picture of the documentation has at most {MAX_KB}")


if __name__ == "__main__":
    main()
