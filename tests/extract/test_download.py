"""Downloads from a real server that breaks off, lies, changes its file and falls silent."""

import errno
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.extract import partial
from aqakit.extract.backbone import Checkpoint
from aqakit.extract.download import Patience, download
from aqakit.extract.partial import Part
from aqakit.extract.receipt import Receipt
from aqakit.features.durable import write_all
from aqakit.features.errors import DiskFullError, StoreError, WeightsError

CONTENT = bytes(byte % 251 for byte in range(700_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# Breaks at multiples of what is read at once, so that the tests know what was kept.
QUICK = Patience(connect_seconds=20, read_seconds=20, tries=3, pause_seconds=0.001)
HASTY = Patience(connect_seconds=20, read_seconds=0.3, tries=3, pause_seconds=0.001)


class Handler(BaseHTTPRequestHandler):
    """Answers as the script of its path says."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.close_connection = True
        with self.server.guard:
            self.server.asked.append((self.path, headers))
            script = self.server.scripts[self.path]
            act = script.pop(0) if len(script) > 1 else script[0]
        act(self)

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def start(self, etag: str) -> int:
        """First byte that is wanted; 0 where the client knows another version."""
        wanted = self.headers["Range"]
        valid = self.headers["If-Range"] in (None, etag)
        return int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and valid else 0


Act = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.guard = threading.Lock()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, list[Act]] = {}
        self.released = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Clients hang up on purpose."""

    def url(self, path: str, *script: Act) -> str:
        """Where a script is played; its last act is repeated."""
        self.scripts[path] = list(script)
        return f"http://127.0.0.1:{self.server_port}{path}"


def sends(
    content: bytes = CONTENT,
    *,
    etag: str = '"one"',
    kept: int | None = None,
    length: int | None = None,
    then: Act = lambda handler: None,
) -> Act:
    """An honest server, unless ``kept`` cuts the whole file short or ``length`` is a lie."""

    def act(handler: Handler) -> None:
        start = handler.start(etag)
        size = len(content) if length is None else length
        if start:
            told = f"bytes {start}-{size - 1}/{size}"
            handler.head(206, Content_Length=size - start, ETag=etag, Content_Range=told)
        else:
            handler.head(200, Content_Length=size, ETag=etag)
        handler.wfile.write(content[start:kept])
        handler.wfile.flush()
        then(handler)

    return act


def answers(status: int, body: bytes = b"", **headers: object) -> Act:
    def act(handler: Handler) -> None:
        handler.head(status, Content_Length=len(body), **headers)
        handler.wfile.write(body)

    return act


def waits(handler: Handler) -> None:
    handler.server.released.wait(30)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def checkpoint(*urls: str, sha256: str = SHA256, size: int | None = len(CONTENT)) -> Checkpoint:
    return Checkpoint("net.pth", "the zoo", urls[0], sha256, urls[1:], size)


def fetch(folder: Path, wanted: Checkpoint, patience: Patience = QUICK) -> Receipt | None:
    return download(wanted, folder, patience=patience)


def failure(folder: Path, wanted: Checkpoint, patience: Patience = QUICK) -> str:
    with pytest.raises(WeightsError) as error:
        fetch(folder, wanted, patience)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("net.pth could not be fetched: ")
    assert message.endswith(f"try again later, or get it from the zoo and put it into {folder}")
    assert not (folder / "net.pth").exists()
    return message


def assert_whole(folder: Path, content: bytes = CONTENT) -> None:
    """The file is there with its receipt, and nothing half done is."""
    assert (folder / "net.pth").read_bytes() == content
    receipt = json.loads((folder / "net.pth.json").read_text())
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert receipt["size_bytes"] == len(content)
    left = {path.name for path in folder.iterdir()} - {".net.pth.lock"}
    assert left == {"net.pth", "net.pth.json"}


def ranges(server: Server) -> list[str | None]:
    return [headers.get("range") for _, headers in server.asked]


# Good servers


def test_a_whole_file_its_receipt_and_its_progress(server: Server, tmp_path: Path) -> None:
    url, told = server.url("/net.pth", sends()), list[tuple[int, int | None]]()
    folder = tmp_path / "new" / "folder"
    receipt = download(checkpoint(url), folder, lambda done, total: told.append((done, total)))
    assert_whole(folder)
    assert receipt == Receipt.read(folder / "net.pth")
    assert receipt is not None
    assert receipt.url == url
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_what_is_there_in_good_order_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    wanted = checkpoint(server.url("/net.pth", sends()))
    assert fetch(tmp_path, wanted) is not None
    assert fetch(tmp_path, wanted) is None
    assert len(server.asked) == 1


@pytest.mark.parametrize("damaged", [b"short", bytes(len(CONTENT))])
def test_a_damaged_file_is_replaced(server: Server, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(damaged)
    assert fetch(tmp_path, checkpoint(server.url("/net.pth", sends())))
    assert_whole(tmp_path)


def test_a_damaged_file_stays_until_the_new_one_is_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="404"):
        fetch(tmp_path, checkpoint(server.url("/net.pth", answers(404))))
    assert (tmp_path / "net.pth").read_bytes() == b"damaged"


def test_a_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    target = server.url("/real", sends())
    fetch(tmp_path, checkpoint(server.url("/net.pth", answers(302, Location=target))))
    assert_whole(tmp_path)


def test_chunks_without_a_length(server: Server, tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked")
        for start in range(0, len(CONTENT), 100_000):
            handler.wfile.write(b"186a0\r\n" + CONTENT[start : start + 100_000] + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    told: list[int | None] = []
    wanted = checkpoint(server.url("/net.pth", chunked), sha256="", size=None)
    download(wanted, tmp_path, lambda _, total: told.append(total), QUICK)
    assert_whole(tmp_path)
    assert set(told) == {None}


# Breaks


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, len(CONTENT) - 1), max_size=6))
def test_wherever_it_breaks_off_the_bytes_are_right(
    cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = server.url("/net.pth", *(sends(kept=cut) for cut in cuts), sends())
        download(checkpoint(url), folder, patience=Patience(20, 20, len(cuts) + 1, 0))
        server.shutdown()
        thread.join()
    assert_whole(folder)
    assert len(server.asked) == len(cuts) + 1


def test_a_later_call_asks_only_for_the_rest(server: Server, tmp_path: Path) -> None:
    wanted = checkpoint(server.url("/net.pth", sends(kept=393_216)))
    assert f"{wanted.url} broke off after 393216 bytes (3 tries)" in failure(tmp_path, wanted)
    server.asked.clear()
    server.url("/net.pth", sends())
    fetch(tmp_path, wanted)
    assert_whole(tmp_path)
    ((_, headers),) = server.asked
    assert headers["range"] == "bytes=393216-"
    assert headers["if-range"] == '"one"'
    assert headers["accept-encoding"] == "identity"


def test_a_file_that_changed_meanwhile_starts_again(server: Server, tmp_path: Path) -> None:
    new = CONTENT[::-1]
    old = sends(kept=262_144)
    url = server.url("/net.pth", old, old, old, sends(new, etag='"two"'))
    wanted = checkpoint(url, sha256="", size=None)
    failure(tmp_path, wanted)
    fetch(tmp_path, wanted)
    assert_whole(tmp_path, new)
    assert ranges(server)[-1] == "bytes=262144-"


def test_a_server_that_ignores_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    whole = answers(200, CONTENT, ETag='"one"')
    fetch(tmp_path, checkpoint(server.url("/net.pth", sends(kept=262_144), whole)))
    assert_whole(tmp_path)
    assert ranges(server) == [None, "bytes=262144-"]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_nothing_is_spliced_without_a_strong_validator(
    server: Server, tmp_path: Path, etag: str
) -> None:
    act = sends(etag=etag, kept=262_144)
    fetch(tmp_path, checkpoint(server.url("/net.pth", act, sends(etag=etag))))
    assert_whole(tmp_path)
    assert ranges(server) == [None, None]


def test_a_date_is_a_validator_too(server: Server, tmp_path: Path) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"

    def dated(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT), Last_Modified=date)
        handler.wfile.write(CONTENT[:262_144])

    fetch(tmp_path, checkpoint(server.url("/net.pth", dated, sends(etag=date))))
    assert_whole(tmp_path)
    assert [headers.get("if-range") for _, headers in server.asked] == [None, date]


def test_an_overloaded_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, checkpoint(server.url("/net.pth", answers(503), answers(429), sends())))
    assert_whole(tmp_path)
    assert len(server.asked) == 3


def test_an_unsatisfiable_range_starts_again(server: Server, tmp_path: Path) -> None:
    script = (sends(kept=262_144), answers(416), sends())
    fetch(tmp_path, checkpoint(server.url("/net.pth", *script)))
    assert_whole(tmp_path)
    assert ranges(server) == [None, "bytes=262144-", None]


def test_a_server_that_falls_silent_half_way(server: Server, tmp_path: Path) -> None:
    script = (sends(kept=262_144, then=waits), sends())
    fetch(tmp_path, checkpoint(server.url("/net.pth", *script)), HASTY)
    assert_whole(tmp_path)
    resumed = ranges(server)[1]
    assert resumed is not None
    assert int(resumed[6:-1]) > 200_000


def test_a_server_that_never_answers(server: Server, tmp_path: Path) -> None:
    message = failure(tmp_path, checkpoint(server.url("/net.pth", waits)), HASTY)
    assert "gave no answer in time (3 tries)" in message


def test_nobody_listens(tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url("/net.pth", sends())
    assert f"{url} could not be reached (3 tries)" in failure(tmp_path, checkpoint(url))


# Lies


@pytest.mark.parametrize(
    "told", ["bytes 0-699999/700000", "bytes 262144-699999/9", "bytes 262144-4/700000", "", "x"]
)
def test_a_wrong_range_is_not_appended(server: Server, tmp_path: Path, told: str) -> None:
    lie = answers(206, CONTENT[:393_216], Content_Range=told, ETag='"one"')
    fetch(tmp_path, checkpoint(server.url("/net.pth", sends(kept=262_144), lie, sends())))
    assert_whole(tmp_path)
    assert ranges(server) == [None, "bytes=262144-", None]


def test_the_rest_of_another_version_is_not_appended(server: Server, tmp_path: Path) -> None:
    told = "bytes 262144-699999/700000"
    other = answers(206, bytes(393_216), Content_Range=told, ETag='"two"')
    fetch(tmp_path, checkpoint(server.url("/net.pth", sends(kept=262_144), other, sends())))
    assert_whole(tmp_path)


@pytest.mark.parametrize("sent", [437_800, 437_900])
def test_chunks_that_are_not_as_many_bytes_as_promised(
    server: Server, tmp_path: Path, sent: int
) -> None:
    def chunked(handler: Handler) -> None:
        told = "bytes 262144-699999/700000"
        handler.head(206, Transfer_Encoding="chunked", Content_Range=told, ETag='"one"')
        handler.wfile.write(f"{sent:x}\r\n".encode() + (CONTENT + CONTENT)[262_144:][:sent])
        handler.wfile.write(b"\r\n0\r\n\r\n")

    script = (sends(kept=262_144), chunked, sends())
    fetch(tmp_path, checkpoint(server.url("/net.pth", *script)))
    assert_whole(tmp_path)
    # What was too few is completed; what was too many is thrown away.
    assert ranges(server)[-1] == ("bytes=699944-" if sent < 437_856 else None)


def test_a_part_that_nobody_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    part = answers(206, CONTENT[:10], Content_Range="bytes 0-9/10")
    message = failure(tmp_path, checkpoint(server.url("/net.pth", part), sha256="", size=None))
    assert "answered 206 Partial Content" in message


@pytest.mark.parametrize("published", [True, False])
def test_a_length_that_is_too_long(server: Server, tmp_path: Path, published: bool) -> None:
    url = server.url("/net.pth", sends(length=len(CONTENT) + 9))
    wanted = checkpoint(url) if published else checkpoint(url, size=None)
    expected = "offers 700009 bytes, but the published file has 700000"
    found = failure(tmp_path, wanted)
    assert (expected if published else "broke off after 655360 bytes (3 tries)") in found


def test_wrong_bytes_are_deleted_and_the_mirror_is_asked(server: Server, tmp_path: Path) -> None:
    bad = server.url("/bad", answers(200, bytes(len(CONTENT)), ETag='"one"'))
    good = server.url("/good", sends())
    receipt = fetch(tmp_path, checkpoint(bad, good))
    assert_whole(tmp_path)
    assert receipt is not None
    assert receipt.url == good


def test_wrong_bytes_everywhere_name_what_was_found(server: Server, tmp_path: Path) -> None:
    wrong = bytes(len(CONTENT))
    url = server.url("/net.pth", answers(200, wrong, ETag='"one"'))
    found = hashlib.sha256(wrong).hexdigest()[:12]
    assert (
        f"{url} sent another file: its SHA-256 begins with {found}, not with {SHA256[:12]};"
        in failure(tmp_path, checkpoint(url, sha256=SHA256[:16]))
    )
    assert not list(tmp_path.glob(".*part*"))


def test_a_login_page_is_not_a_file(server: Server, tmp_path: Path) -> None:
    page = answers(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
    wanted = checkpoint(server.url("/net.pth", page), sha256="", size=None)
    assert "answered with a web page instead of the file" in failure(tmp_path, wanted)


def test_an_encoded_body_is_refused(server: Server, tmp_path: Path) -> None:
    act = answers(200, b"...", Content_Encoding="gzip")
    message = failure(tmp_path, checkpoint(server.url("/net.pth", act), size=None))
    assert "sends the file encoded as 'gzip'" in message


def until_closed(handler: Handler) -> None:
    handler.head(200)
    handler.wfile.write(CONTENT)


def test_without_any_length_only_a_checksum_can_tell_the_end(
    server: Server, tmp_path: Path
) -> None:
    url = server.url("/net.pth", until_closed)
    assert "does not say how long" in failure(tmp_path, checkpoint(url, sha256="", size=None))
    fetch(tmp_path, checkpoint(url, size=None))
    assert_whole(tmp_path)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_asked_once_and_then_the_mirror(
    server: Server, tmp_path: Path, status: int
) -> None:
    gone = server.url("/gone", answers(status))
    fetch(tmp_path, checkpoint(gone, server.url("/good", sends())))
    assert_whole(tmp_path)
    assert [path for path, _ in server.asked] == ["/gone", "/good"]


def test_every_place_says_why(server: Server, tmp_path: Path) -> None:
    first, second = server.url("/a", answers(404)), server.url("/b", answers(500))
    message = failure(tmp_path, checkpoint(first, second))
    assert f"{first} answered 404 Not Found; {second} answered 500 Internal" in message


def test_redirects_without_end(server: Server, tmp_path: Path) -> None:
    url = server.url("/net.pth", answers(302, Location="/net.pth"))
    assert "redirects without end" in failure(tmp_path, checkpoint(url))


def test_an_address_that_is_none(tmp_path: Path) -> None:
    assert "cannot be asked (InvalidURL)" in failure(tmp_path, checkpoint("http://"))


def test_a_mirror_does_not_continue_the_bytes_of_another_place(
    server: Server, tmp_path: Path
) -> None:
    urls = server.url("/a", sends(kept=262_144)), server.url("/b", answers(404))
    failure(tmp_path, checkpoint(*urls))
    server.asked.clear()
    server.url("/b", sends())
    fetch(tmp_path, checkpoint(urls[1], urls[0]))
    assert_whole(tmp_path)
    # What is begun is asked for first, and the other place from its start.
    assert server.asked[0][0] == "/a"
    assert (server.asked[-1][0], ranges(server)[-1]) == ("/b", None)


# Disks and processes


def test_a_full_disk_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview, offset: int) -> None:
        if offset > 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(descriptor, data, offset)

    wanted = checkpoint(server.url("/net.pth", sends()))
    with monkeypatch.context() as patched:
        patched.setattr(partial, "write_all", full)
        with pytest.raises(DiskFullError, match="free some and run the same command again"):
            fetch(tmp_path, wanted)
    fetch(tmp_path, wanted)
    assert_whole(tmp_path)
    resumed = ranges(server)[-1]
    assert resumed is not None
    assert int(resumed[6:-1]) > 200_000


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        fetch(tmp_path / "file", checkpoint("http://127.0.0.1:1/"))


@pytest.mark.parametrize("label", ["", "[]", "{}", '{"url": 3}'])
def test_a_part_with_a_broken_label_starts_again(
    server: Server, tmp_path: Path, label: str
) -> None:
    (tmp_path / ".net.pth.part").write_bytes(b"of unknown origin")
    (tmp_path / ".net.pth.part.json").write_text(label)
    fetch(tmp_path, checkpoint(server.url("/net.pth", sends())))
    assert_whole(tmp_path)
    assert ranges(server) == [None]


PROGRAM = """
import sys
from pathlib import Path
from aqakit.extract.backbone import Checkpoint
from aqakit.extract.download import download
download(Checkpoint("net.pth", "the zoo", sys.argv[1], sys.argv[2]), Path(sys.argv[3]))
"""


def start(url: str, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, SHA256, str(folder)])


def test_a_killed_process_loses_nothing(server: Server, tmp_path: Path) -> None:
    url = server.url("/net.pth", sends(kept=393_216, then=waits), sends())
    process, part = start(url, tmp_path), Part(tmp_path / "net.pth")
    deadline = time.monotonic() + 60
    while part.size < 262_144 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.size
    assert kept >= 262_144
    assert not (tmp_path / "net.pth").exists()
    fetch(tmp_path, checkpoint(url))
    assert_whole(tmp_path)
    assert ranges(server) == [None, f"bytes={kept}-"]


def test_killed_between_the_last_byte_and_the_name(server: Server, tmp_path: Path) -> None:
    url = server.url("/net.pth", sends())
    part = Part(tmp_path / "net.pth")
    part.begin(partial.Origin(url, '"one"', "", len(CONTENT)))
    part.append([CONTENT], lambda done, total: None)
    fetch(tmp_path, checkpoint(url))
    assert_whole(tmp_path)
    assert server.asked == []


def test_two_processes_fetch_a_file_once(server: Server, tmp_path: Path) -> None:
    url = server.url("/net.pth", sends(kept=262_144, then=lambda handler: time.sleep(0.3)), sends())
    processes = [start(url, tmp_path) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert_whole(tmp_path)
    assert ranges(server) == [None, "bytes=262144-"]
