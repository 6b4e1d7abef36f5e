import errno
import json
import os
import shutil
import threading
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from allinone.apps.search import Filters, VideoIndex
from allinone.apps.serve.api import OpenFileResponse
from allinone.apps.serve.limits import Limits
from allinone.apps.serve.server import background
from allinone.apps.serve.service import Service, media_type
from allinone.data.clip_reader import Span
from allinone.video import probe, read_frames
from serving import LIMITS, ODD_NAME, Served
from tiny import ANSWERS, TEXTS, tiny_frames, tiny_predictor

Hits = list[dict[str, Any]]
VIDEO = {"content-type": "video/mp4"}


@pytest.fixture(scope="module")
def client(served: Served):
    with httpx.Client(base_url=served.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def hits(client: httpx.Client) -> Hits:
    return client.post("/api/search", json={"text": TEXTS[1]}).json()["hits"]


@pytest.fixture(scope="module")
def uploaded(client: httpx.Client, served: Served) -> str:
    content = (served.folder / "videos" / "00.mp4").read_bytes()
    return client.post("/api/uploads", content=content, headers=VIDEO).json()["upload"]


def test_search_gives_the_hits_of_the_index(client: httpx.Client, served: Served, hits: Hits):
    wanted = served.service.index.search(TEXTS[1])
    assert [(hit["segment"], hit["video"], hit["start_sec"]) for hit in hits] == [
        (hit.segment, hit.video, hit.start_sec) for hit in wanted
    ]
    assert client.post("/api/search", json={"text": TEXTS[1], "top_k": 2, "offset": 1}).json()["hits"] == hits[1:3]
    again = client.post("/api/search", json={"text": TEXTS[1], "rerank": 3}).json()["hits"]
    assert all(0 < hit["match"] < 1 for hit in again[:3])


def test_search_by_example_and_filters(client: httpx.Client, hits: Hits):
    like = client.post("/api/search", json={"like": hits[0]["segment"], "where": {"name": "00"}}).json()["hits"]
    assert like
    assert {Path(hit["video"]).name for hit in like} == {"00.mp4"}
    for where in ({"min_duration_sec": 10}, {"folder": "/absent"}, {"added_after": "2999-01-01"}, {"name": "' OR 1=1"}):
        assert client.post("/api/search", json={"text": "red", "where": where}).json()["hits"] == []


def test_answers_are_those_of_the_model_about_that_part(client: httpx.Client, served: Served, hits: Hits):
    model, hit = served.service.predictor, hits[0]
    part = {"segment": hit["segment"], "start_sec": 1, "end_sec": 5}
    span = Span(hit["video"], 1.0, 5.0)
    for question in ("what?", "a [MASK] ball"):
        found = client.post("/api/answer", json={**part, "question": question}).json()["answers"]
        assert [tuple(answer.values()) for answer in found] == model.ask(span, model.question(question))
    found = client.post("/api/classify", json={**part, "labels": TEXTS}).json()["answers"]
    assert [tuple(answer.values()) for answer in found] == model.ask(span, model.question(TEXTS))
    found = client.post("/api/match", json={**part, "texts": TEXTS}).json()["matches"]
    assert [match["probability"] for match in found] == pytest.approx(model.match(span, TEXTS).tolist(), abs=1e-6)


def test_vectors_are_those_of_the_model(client: httpx.Client, served: Served, uploaded: str):
    texts = torch.tensor(client.post("/api/embed", json={"texts": TEXTS}).json()["vectors"])
    assert torch.allclose(texts, served.service.predictor.embed_text(TEXTS), atol=1e-6)
    video = torch.tensor(client.post("/api/embed", json={"video": {"upload": uploaded}}).json()["vectors"])
    wanted = served.service.predictor.embed_video(served.folder / "videos" / "00.mp4")
    assert torch.allclose(video, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ("search", {"text": "🎉🎉"}),
        ("answer", {"question": "🎉🎉"}),
        ("classify", {"labels": ["red", "🎉🎉"]}),
        ("match", {"texts": ["red", "🎉🎉"]}),
        ("embed", {"texts": ["red", "🎉🎉"]}),
    ],
)
def test_words_that_the_model_does_not_know_are_told(
    client: httpx.Client, hits: Hits, request_: str, body: dict[str, Any]
):
    part = {"segment": hits[0]["segment"]} if request_ in ("answer", "classify", "match") else {}
    [note] = client.post(f"/api/{request_}", json={**part, **body}).json()["notes"]
    assert "no word is in the model's vocabulary" in note


def test_an_upload_is_asked_about_by_its_id_and_no_file_is_kept(client: httpx.Client, uploaded: str, tmp_path: Path):
    found = client.post("/api/answer", json={"upload": uploaded, "question": "what?", "top_k": 1}).json()["answers"]
    assert found[0]["answer"] in ANSWERS
    import tempfile

    assert not list(Path(tempfile.gettempdir()).glob("allinone-upload-*"))


def test_only_so_many_uploads_are_remembered(served: Served):
    service = Service(served.service.index, Limits(max_uploads=2))
    video = served.folder / "videos" / "00.mp4"
    names = [service.upload(video)[0] for _ in range(3)]
    assert list(service.uploads) == names[1:]


def test_a_video_is_served_in_ranges(client: httpx.Client, served: Served, hits: Hits):
    hit = hits[0]
    address = hit["play"].partition("#")[0]
    content = Path(hit["video"]).read_bytes()
    assert client.get(address).content == content
    part = client.get(address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    assert part.headers["content-type"] == "video/mp4"
    assert client.get(address, headers={"range": "bytes=9999999-"}).status_code == 416
    assert client.get(hit["thumbnail"]).content[:3] == b"\xff\xd8\xff"


def test_a_segment_is_encoded_anew_for_browsers(client: httpx.Client, hits: Hits):
    hit = next(hit for hit in hits if hit["start_sec"] >= 3)
    clip = client.get(f"/media/clip/{hit['segment']}")
    assert clip.headers["content-type"] == "video/mp4"
    info = probe(clip.content)
    assert (info.width, info.height, info.duration_sec) == (32, 32, pytest.approx(3))
    wanted = read_frames(hit["video"], times_sec=[hit["start_sec"] + 0.1]).frames.float()
    assert (read_frames(clip.content, times_sec=[0.1]).frames - wanted).abs().mean() < 5


@pytest.mark.parametrize(
    "path",
    [
        "/media/video/../../secret.txt", "/media/video/..%2f..%2fsecret.txt", "/media/video/%2e%2e/secret.txt",
        "/media/video//etc/passwd", "/media/video/secret.txt", "/media/video/%00", "/media/thumbnail/..%2fsecret.txt",
        "/static/..%2f..%2f..%2fetc%2fpasswd", "/static/%2e%2e/%2e%2e/routes.py", "/assets/..%2findex.html",
        "/gradio_api/file={folder}/secret.txt", "/gradio_api/file={folder}/videos/00.mp4", "/gradio_api/upload",
        "/static/../gradio_api/file={folder}/secret.txt", "/config/../gradio_api/file={folder}/secret.txt",
        "/media/video/" + "0" * 24,
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_the_files(served: Served, path: str):
    raw = path.format(folder=served.folder).encode()
    request = httpx.Request("GET", served.url)
    request = httpx.Request("GET", request.url.copy_with(raw_path=raw))  # as it is: clients tidy paths up
    with httpx.Client() as client:
        answer = client.send(request)
    assert answer.status_code in (403, 404, 422)
    assert b"secret" not in answer.content
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "nested", [{"path": "{file}"}, ["{file}"], {"path": "http://127.0.0.1:9/x"}, [[{"path": "{file}"}]]]
)
@pytest.mark.parametrize("place", ["data", "event_data"])
def test_an_event_of_the_page_that_names_a_file_is_refused(
    client: httpx.Client, served: Served, nested: Any, place: str
):
    """By default, Gradio copies such a file, or the content of such an address, to where it can be fetched."""
    text = json.dumps(nested).replace("{file}", str(served.folder / "secret.txt"))
    value = json.loads(text)
    if isinstance(value, dict):
        value["meta"] = {"_type": "gradio.FileData"}
    event = {"data": ["red", *[""] * 5, False], "fn_index": 0, "session_hash": "abc", "event_data": None}
    assert client.post("/gradio_api/queue/join", json=event).status_code == 200
    bad = {"data": [value, *event["data"][1:]]} if place == "data" else {"event_data": {"segment": value}}
    assert client.post("/gradio_api/queue/join", json={**event, **bad}).status_code == 400
    assert client.post("/gradio_api/queue/join", json={**event, "simple_format": True}).status_code == 400
    assert client.get("/", params={"deep_link": "../../.."}).status_code == 200


def test_nothing_of_the_index_passes_for_a_page():
    names = ["a.mp4", "a.WEBM", "a.mts", "a.jpg", "a.html", "a.svg", "a.js", "a", "a.mp4.htm"]
    kinds = [media_type(Path(name)) for name in names]
    assert kinds[:4] == ["video/mp4", "video/webm", "video/mp2t", "image/jpeg"]
    assert set(kinds[4:]) == {"application/octet-stream"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "give one of text, like; got none"),
        ({"text": "a", "like": "0" * 24}, "got text and like"),
        ({"text": ""}, "text: String should have at least 1 character"),
        ({"text": "a" * 1001}, "text: String should have at most 1000 characters"),
        ({"text": "a", "top_k": 101}, "top_k: Input should be less than or equal to 100"),
        ({"text": "a", "offset": -1}, "offset: Input should be greater than or equal to 0"),
        ({"text": "a", "folder": "/"}, "folder: Extra inputs are not permitted"),
        ({"text": "a", "where": {"added_after": "0001-01-01"}}, "the year must be from 1970 to 2999"),
        ({"text": "a", "where": {"name": "a" * 256}}, "no file has such a name"),
        ({"text": "a", "where": {"max_duration_sec": -1}}, "max_duration_sec is a number of seconds, 0 or more"),
        ({"text": "a", "where": {"added": "2026-01-01"}}, "where.added: Unexpected keyword argument"),
        ({"like": "../../secret"}, "like: String should match pattern"),
    ],
)
def test_values_out_of_bounds_are_named(client: httpx.Client, body: dict[str, Any], message: str):
    answer = client.post("/api/search", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_what_is_not_there_is_404(client: httpx.Client):
    gone = {"segment": "0" * 24, "question": "what?"}
    for path, body in (
        ("search", {"like": "0" * 24}),
        ("answer", gone),
        ("answer", {**gone, "segment": None, "upload": "1" * 32}),
    ):
        answer = client.post(f"/api/{path}", json=body)
        assert answer.status_code == 404, answer.text
        assert "Traceback" not in answer.text


def test_a_hit_whose_file_is_gone_is_marked(client: httpx.Client, served: Served, hits: Hits):
    assert not any(hit["gone"] for hit in hits)
    video = Path(hits[0]["video"])
    shutil.move(video, served.folder / "away.mp4")
    try:
        again = client.post("/api/search", json={"text": TEXTS[1]}).json()["hits"]
    finally:
        shutil.move(served.folder / "away.mp4", video)
    assert {hit["video"] for hit in again if hit["gone"]} == {str(video)}


def test_folders_are_found_by_their_ending_and_a_filter_that_leaves_nothing_is_named(
    client: httpx.Client, served: Served
):
    def found(**where: Any) -> dict[str, Any]:
        return client.post("/api/search", json={"text": "red", "where": where}).json()

    assert found(folder="videos") == found() == found(folder=f"{served.folder.name}/videos")
    nothing = found(folder="deos", name="00")
    assert nothing == {
        "hits": [],
        "notes": [f"no video in the index passes: folder 'deos'; the videos are in {served.folder}/videos"],
    }


def test_a_photo_is_shown_to_browsers_that_cannot_read_it_as_a_video(tmp_path: Path):
    Image.fromarray(tiny_frames(0)[0]).save(tmp_path / "photo.tiff")
    index = VideoIndex.open(tmp_path / "my.index", tiny_predictor())
    assert index.add(tmp_path / "photo.tiff").added == 1
    service = Service(index, LIMITS)
    [hit] = index.search("red")
    assert read_frames(service.clip(hit.segment), times_sec=[0]).frames.shape[-2:] == (32, 32)


def test_a_video_that_is_gone_is_said_to_be_gone(client: httpx.Client, served: Served, hits: Hits):
    hit = next(hit for hit in hits if hit["video"].endswith("02.mp4"))
    video = Path(hit["video"])
    shutil.move(video, served.folder / "away.mp4")
    try:
        assert "no longer where it was" in client.get(hit["play"].partition("#")[0]).json()["detail"]
        answer = client.post("/api/answer", json={"segment": hit["segment"], "question": "what?"})
        gone = "02.mp4 is no longer where it was when it was indexed"
        assert (answer.status_code, answer.json()["detail"]) == (404, gone)
    finally:
        shutil.move(served.folder / "away.mp4", video)


def test_a_damaged_index_and_a_full_disk_are_one_sentence(
    client: httpx.Client, served: Served, hits: Hits, monkeypatch
):
    versions = served.folder / "my.index" / "segments.lance" / "_versions"
    versions.rename(served.folder / "versions")
    versions.write_bytes(b"no folder")
    try:
        for answer in (
            client.post("/api/search", json={"text": "red"}),
            client.get(hits[0]["play"].partition("#")[0]),
            client.get(f"/media/thumbnail/{hits[0]['segment']}"),
        ):
            assert answer.status_code == 503
            assert "my.index: damaged (" in answer.json()["detail"]
    finally:
        versions.unlink()
        (served.folder / "versions").rename(versions)
    assert client.post("/api/search", json={"text": "red"}).json()["hits"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/upload")

    monkeypatch.setattr(served.service, "upload", full)
    answer = client.post("/api/uploads", content=b"x", headers=VIDEO)
    assert answer.status_code == 507
    assert "no room left on the disk" in answer.json()["detail"]


@pytest.mark.parametrize("how", ["a link", "a linked folder", "another file", "a pipe"])
def test_what_was_put_in_the_place_of_a_video_is_not_shown(client: httpx.Client, served: Served, hits: Hits, how: str):
    hit = next(hit for hit in hits if hit["video"].endswith("02.mp4"))
    videos, elsewhere = Path(hit["video"]).parent, served.folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(videos / "01.mp4", elsewhere / "02.mp4")
    moved = videos.rename(served.folder / "moved") if how == "a linked folder" else videos / "02.mp4"
    if how != "a linked folder":
        moved = moved.rename(served.folder / "moved")
    try:
        match how:
            case "a link":
                (videos / "02.mp4").symlink_to(elsewhere / "02.mp4")
            case "a linked folder":
                videos.symlink_to(elsewhere)
            case "another file":
                shutil.copy(elsewhere / "02.mp4", videos)
            case _:
                os.mkfifo(videos / "02.mp4")
        question = {"segment": hit["segment"], "question": "what?"}
        for answer in (
            client.get(hit["play"].partition("#")[0]),
            client.get(f"/media/clip/{hit['segment']}"),
            client.post("/api/answer", json=question),
        ):
            assert answer.status_code == 404
            assert answer.json()["detail"] == "02.mp4 has changed since it was indexed; index its folder again"
    finally:
        (videos if how == "a linked folder" else videos / "02.mp4").unlink()
        moved.rename(videos if how == "a linked folder" else videos / "02.mp4")
        shutil.rmtree(elsewhere)


def test_a_file_that_was_checked_is_sent_though_its_path_leads_elsewhere_by_now(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"checked")
    response = OpenFileResponse(path.open("rb"), "video/mp4")
    path.rename(tmp_path / "b.mp4")
    path.write_bytes(b"another")
    assert TestClient(response).get("/", headers={"range": "bytes=1-"}).content == b"hecked"
    assert response.file.closed


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (b"no video", VIDEO, 422, "the upload: not a readable video or image"),
        (b"", VIDEO, 422, "the upload: the file is empty"),
        (b"#EXTM3U\nhttp://127.0.0.1/x", VIDEO, 422, "the upload: a playlist, no video"),
        (b"x", {"content-type": "text/html"}, 415, "send a video or an image, not text/html"),
        (b"x", {}, 415, "not a body without content type"),
        (b"x" * 1_000_001, VIDEO, 413, "too large: at most 1 MB"),
    ],
)
def test_uploads_that_are_none(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int, message: str
):
    answer = client.post("/api/uploads", content=content, headers=headers)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_more_requests_than_may_wait_are_told_to_come_back(client: httpx.Client, served: Served):
    statuses = []

    def one() -> None:
        statuses.append(client.post("/api/embed", json={"texts": ["red"]}))

    with served.service.model.enter():  # somebody else is at the model
        threads = [threading.Thread(target=one) for _ in range(LIMITS.max_waiting + 4)]
        for thread in threads:
            thread.start()
        while len(statuses) < 4:
            pass
        assert all(answer.status_code == 503 and answer.headers["retry-after"] for answer in statuses)
        assert "3 such requests are here already; try again" in statuses[0].json()["detail"]
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in statuses) == [200] * LIMITS.max_waiting + [503] * 4


def test_only_so_many_uploads_are_on_their_way_at_once(client: httpx.Client, served: Served):
    with ExitStack() as others:
        for _ in range(LIMITS.max_receiving):
            others.enter_context(served.service.receiving.enter())
        assert client.post("/api/uploads", content=b"x", headers=VIDEO).status_code == 503
    assert client.post("/api/uploads", content=b"x", headers=VIDEO).status_code == 422


def test_a_checkpoint_that_lacks_a_head_says_what_to_do(served: Served, tmp_path: Path):
    from allinone.model.heads import ContrastiveHead

    model = tiny_predictor(heads={"contrastive": ContrastiveHead.Config()})
    empty = Service(VideoIndex.open(tmp_path / "empty.index", model), LIMITS)
    with (
        background(empty, password="correct horse") as url,
        httpx.Client(base_url=url, auth=("me", "correct horse")) as client,
    ):
        state = client.get("/api/state").json()
        assert (state["num_segments"], state["abilities"]) == (0, ["embed", "classify"])
        answer = client.post("/api/search", json={"text": "red"})
        assert answer.status_code == 400
        assert "add videos first" in answer.json()["detail"]
        content = (served.folder / "videos" / "00.mp4").read_bytes()
        upload = client.post("/api/uploads", content=content, headers=VIDEO).json()["upload"]
        answer = client.post("/api/answer", json={"upload": upload, "question": "what?"})
        assert answer.status_code == 400
        assert "no answer head (it has: contrastive), so it cannot answer" in answer.json()["detail"]
        assert httpx.get(f"{url}/api/state").status_code == 401


def test_the_description_names_every_request_and_its_bounds(client: httpx.Client):
    description = client.get("/api/openapi.json").json()
    posts = {path for path, methods in description["paths"].items() if "post" in methods}
    assert posts == {f"/api/{name}" for name in ("search", "embed", "match", "answer", "classify", "uploads")}
    schemas = description["components"]["schemas"]
    assert schemas["Search"]["properties"]["top_k"]["maximum"] == 100
    assert set(schemas["Filters"]["properties"]) == {field.name for field in fields(Filters)}
    assert not [path for path in description["paths"] if "gradio" in path]


WORDS = st.text(max_size=30) | st.sampled_from(["[MASK]", "a [MASK] ball", "\0", "' OR 1=1 --", "../..", ODD_NAME])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
ANYTHING = st.recursive(SCALARS, lambda s: st.lists(s, max_size=3) | st.dictionaries(WORDS, s, max_size=3))
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "folder": WORDS,
        "name": WORDS,
        "added_after": st.datetimes().map(str) | SCALARS,
        "min_duration_sec": SCALARS,
        "max_duration_sec": st.floats(0, 1e6),
    },
)


def almost_right(segment: str, upload: str) -> st.SearchStrategy[tuple[str, Any]]:
    """The name of a request, and a body for it that may be out of bounds here and there."""
    part = st.fixed_dictionaries(
        {"segment": st.just(segment)}, optional={"start_sec": SCALARS, "end_sec": st.floats(0, 20)}
    )
    about, top_k, texts = part | st.just({"upload": upload}), st.integers(0, 120), st.lists(WORDS, max_size=3)

    def request(name: str, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
        bodies = st.fixed_dictionaries({}, optional=keys)
        with_video = st.tuples(about, bodies).map(lambda two: {**two[0], **two[1]})
        return st.tuples(st.just(name), bodies if name in ("search", "embed") else with_video)

    return (
        request("search", text=WORDS, top_k=top_k, rerank=st.integers(-1, 5), where=WHERE)
        | request("answer", question=WORDS, top_k=top_k)
        | request("classify", labels=texts, top_k=top_k)
        | request("match", texts=texts)
        | request("embed", texts=texts, video=about)
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_input_breaks_the_server(client: httpx.Client, hits: Hits, uploaded: str, data: st.DataObject):
    name, body = data.draw(almost_right(hits[0]["segment"], uploaded))
    body = data.draw(st.just(body) | ANYTHING)
    # As Python writes it: with NaN, lone surrogates and numbers of any length; or no JSON at all.
    content = data.draw(st.just(json.dumps(body).encode()) | st.binary(max_size=50))
    answer = client.post(f"/api/{name}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404, 422), answer.text
    answer.json()
