"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from allinone.apps.search import VideoIndex, Windows
from allinone.apps.serve.server import background
from allinone.apps.serve.service import Service
from serving import LIMITS, ODD_NAME, Served
from tiny import tiny_frames, tiny_predictor, write_videos

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
expect.set_options(timeout=20_000)
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1000, "height": 800}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page that is open, and what it did: the hosts it asked, and what went wrong in it."""

    def __init__(self, browser: Browser, url: str, size: dict[str, int] = DESK):
        self.page = browser.new_page(viewport=size)  # pyright: ignore[reportArgumentType]
        self.hosts: set[str] = set()
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message) or dialog.dismiss())
        self.page.goto(url)

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.page.close()


def search(page: Page, text: str) -> None:
    page.fill("#query input, #query textarea", text)
    page.click("#go")


def test_search_play_at_the_moment_and_more_like_it(browser: Browser, served: Served):
    with (visit := Visit(browser, served.url)) as page:
        expect(page.locator("#results")).to_contain_text("12 segments to search in")
        search(page, "red")
        hits = served.service.index.search("red")
        cards = page.locator("#results article")
        expect(cards).to_have_count(len(hits))
        page.wait_for_function("[...document.querySelectorAll('#results article img')].every(i => i.naturalWidth > 0)")
        number = next(number for number, hit in enumerate(hits) if hit.start_sec >= 3)
        cards.nth(number).locator(".shot").click()
        video = page.locator("#player video")
        expect(video).to_have_js_property("paused", False)
        playing = video.evaluate("async v => { await new Promise(r => v.ontimeupdate = r); return v.currentTime }")
        assert hits[number].start_sec <= playing < hits[number].start_sec + 2
        cards.first.get_by_text("more like this").click()
        like = served.service.index.similar(served.service.index.segment(hits[0].segment))
        expect(cards).to_have_count(len(like))
        assert cards.first.locator(".name").text_content() == Path(like[0].video).name
    assert visit.problems == []
    assert visit.hosts == {urlsplit(served.url).netloc}


def test_more_results_are_shown_while_there_are_more(browser: Browser, served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("allinone.apps.serve.page.PAGE", 2)
    with (visit := Visit(browser, served.url)) as page:
        search(page, "red")
        cards, more, count = (
            page.locator("#results article"),
            page.locator("#more"),
            len(served.service.index.search("red")),
        )
        expect(cards).to_have_count(2)
        first = cards.first.locator(".name").text_content()
        while cards.count() < count:
            shown = cards.count()
            more.click()
            expect(cards).to_have_count(min(shown + 2, count))
        assert cards.first.locator(".name").text_content() == first
    assert visit.problems == []


def test_filters_narrow_and_a_name_is_only_text(browser: Browser, served: Served):
    with (visit := Visit(browser, served.url)) as page:
        page.click("#filters button")
        page.fill("#name input, #name textarea", "onerror")
        search(page, "a dog")
        names = page.locator("#results .name")
        expect(names.first).to_have_text(ODD_NAME)
        assert set(names.all_text_contents()) == {ODD_NAME}
        page.click("#results .shot >> nth=0")
        expect(page.locator("#player .name")).to_have_text(ODD_NAME)
        page.fill("#added input, #added textarea", "yesterday")
        search(page, "a dog")
        expect(page.locator("#results .problem")).to_contain_text("added_after")
        page.fill("#added input, #added textarea", "2999-01-01")
        search(page, "a dog")
        expect(page.locator("#results")).to_contain_text("Nothing was found")
        expect(page.locator("#results")).to_contain_text("no video in the index passes: added after 2999-01-01")
        page.fill("#added input, #added textarea", "")
        search(page, "🎉🎉")
        expect(page.locator("#results .note").first).to_contain_text("no word is in the model's vocabulary")
        expect(page.locator("#results article")).not_to_have_count(0)
    assert visit.problems == []


def test_ask_about_a_hit_and_about_an_upload_of_which_a_broken_one_is_only_a_message(
    browser: Browser, served: Served, tmp_path: Path
):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "large.mp4").write_bytes(b"x" * 1_000_001)
    with (visit := Visit(browser, served.url)) as page:
        search(page, "red")
        page.click("#results button:text('ask about it') >> nth=0")
        expect(page.locator("#chosen figure")).to_have_count(4)
        page.fill("#question input, #question textarea", "what colour?")
        page.click("#send")
        expect(page.locator("#answers tr")).to_have_count(3)
        page.set_input_files("#upload input", tmp_path / "broken.mp4")
        problem = page.locator("#upload .problem")
        expect(problem).to_have_text(
            "the upload: not a readable video or image: Invalid data found when processing input"
        )
        page.set_input_files("#upload input", served.folder / "videos" / "01.mp4")
        expect(page.locator("#chosen .name")).to_have_text("01.mp4: what the model sees")
        page.click("#way >> text=belong")
        page.fill("#question input, #question textarea", "a dog")
        page.click("#send")
        expect(page.locator("#answers tr")).to_have_count(1)
        page.set_input_files("#upload input", tmp_path / "large.mp4")
        expect(problem).to_contain_text("too large")
    assert [p for p in visit.problems if "status of 422" not in p and "413" not in p and "ERR_" not in p] == []
    assert visit.hosts == {urlsplit(served.url).netloc}


def test_a_video_that_the_browser_cannot_play_is_encoded_anew(browser: Browser, tmp_path: Path):
    with av.open(str(tmp_path / "old.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        for frame in tiny_frames(0, 24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    index = VideoIndex.open(tmp_path / "my.index", tiny_predictor())
    assert index.add(tmp_path / "old.avi").added == 1
    with background(Service(index, LIMITS)) as url, Visit(browser, url) as page:
        search(page, "red")
        page.click("#results .shot")
        video = page.locator("#player video")
        expect(video).to_have_js_property("videoWidth", 32)
        assert "media/clip/" in str(video.get_attribute("src"))


def test_it_fits_on_a_phone(browser: Browser, served: Served):
    with (visit := Visit(browser, served.url, PHONE)) as page:
        search(page, "red")
        page.click("#results .shot >> nth=0")
        expect(page.locator("#player video")).to_be_visible()
        widths = [page.evaluate("document.documentElement.scrollWidth")]
        for tab in ("Ask", "Index"):
            page.get_by_role("tab", name=tab).click()
            widths.append(page.evaluate("document.documentElement.scrollWidth"))
        expect(page.locator("#state")).to_contain_text("windows of 3 s")
        assert widths == [390] * 3
    assert visit.problems == []


def test_an_empty_index_says_so_and_shows_what_comes_while_it_is_filled(browser: Browser, tmp_path: Path):
    index = VideoIndex.open(tmp_path / "my.index", tiny_predictor(), Windows(length_sec=3))
    with background(Service(index, LIMITS)) as url, (visit := Visit(browser, url)) as page:
        expect(page.locator("#results")).to_contain_text("Nothing is indexed yet")
        search(page, "red")
        expect(page.locator("#results .problem")).to_contain_text("add videos first")
        for video in write_videos(tmp_path / "videos", 2):
            index.add(video)
            search(page, "red")
            expect(page.locator("#results article")).to_have_count(len(index))
        page.get_by_role("tab", name="Index").click()
        page.click("#refresh")
        expect(page.locator("#state tr", has_text="videos").first).to_contain_text("2")
    assert visit.problems == []
