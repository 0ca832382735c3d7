"""Fetch one file of weights over HTTP, whole and checked, whatever the server and the network do.

A call goes on where an earlier one broke off: ``Range`` with ``If-Range``, RFC 9110, sections 13.1.5
and 14. What a server says is compared with what was published and with what it said before. The
file takes its name last, after its size and checksum were compared.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests
from filelock import FileLock

from ..features.durable import write_errors
from ..features.errors import WeightsError
from .backbone import Checkpoint
from .partial import Origin, Part, Progress
from .receipt import Receipt, fault, published

# A break costs up to one block.
_BLOCK_BYTES = 1 << 16
_OK, _PARTIAL, _BAD_RANGE = 200, 206, 416
# Worth another try: the server is overloaded, or had a fault of its own.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Args:
        connect_seconds: for a connection.
        read_seconds: for the next bytes.
        tries: requests to one URL, each going on where the last one broke off.
        pause_seconds: before the second try; doubled before each further one.
    """

    connect_seconds: float = 15.0
    read_seconds: float = 60.0
    tries: int = 5
    pause_seconds: float = 1.0


class _BrokenError(Exception):
    """This try failed; the next may not."""


class _RefusedError(Exception):
    """This URL does not have the file; another one may."""


def _silent(done_bytes: int, total_bytes: int | None) -> None:
    """Show nothing."""


def download(
    checkpoint: Checkpoint,
    folder: Path,
    progress: Progress = _silent,
    patience: Patience | None = None,
) -> Receipt | None:
    """Put a checkpoint into a folder, unless it is there in good order.

    A file of that name that is damaged is replaced. Another process that fetches the same file is
    waited for.

    Args:
        checkpoint: what to fetch; its places are tried in order.
        folder: made where there is none.
        progress: told of bytes done and, where known, in all.
        patience: with servers.

    Returns:
        The receipt, which also lies beside the file; None where nothing had to be fetched.

    Raises:
        WeightsError: no place has the right file; says what each one did.
        DiskFullError: no space is left; what came so far is kept.
        StoreError: the folder cannot be written to.
    """
    path = folder / checkpoint.file
    with _alone(path):
        if path.exists() and fault(path, checkpoint) is None:
            return None
        part = Part(path)
        # What is half here already is asked for first where it came from.
        urls = sorted(checkpoint.urls, key=lambda url: url != part.origin.url)
        failures = []
        with requests.Session() as session:
            for url in urls:
                try:
                    _transfer(session, url, part, checkpoint, progress, patience or Patience())
                    return _finish(path, url, part, checkpoint)
                except _RefusedError as error:
                    failures.append(f"{url} {error}")
    raise WeightsError(
        f"{checkpoint.file} could not be fetched: {'; '.join(failures)}; try again later, or get "
        f"it from {checkpoint.source} and put it into {folder}"
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time fetch a file; the lock dies with its process."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _blocks(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(_BLOCK_BYTES)
    except requests.RequestException as error:
        how = "fell silent" if "timed out" in str(error) else "broke off"
        raise _BrokenError(how) from error


def _transfer(
    session: requests.Session,
    url: str,
    part: Part,
    checkpoint: Checkpoint,
    progress: Progress,
    patience: Patience,
) -> None:
    """Try one URL until all of its bytes are in the partial file.

    Raises:
        _RefusedError: it does not have the file, or broke too often.
    """
    last = "was not asked"
    for number in range(patience.tries):
        if number:
            time.sleep(patience.pause_seconds * 2 ** (number - 1))
        try:
            _request(session, url, part, checkpoint, progress, patience)
            return
        except _BrokenError as error:
            last = f"{error} after {part.size} bytes" if part.size else str(error)
    raise _RefusedError(f"{last} ({patience.tries} tries)")


def _request(
    session: requests.Session,
    url: str,
    part: Part,
    checkpoint: Checkpoint,
    progress: Progress,
    patience: Patience,
) -> None:
    """One request, from where the partial file ends."""
    origin, start = part.origin, part.size
    if origin.url == url and start and start == origin.length:
        return  # killed between the last byte and the name
    # As they are stored: offsets into a compressed body would mean something else.
    headers = {"Accept-Encoding": "identity"}
    resuming = bool(origin.url == url and origin.validator and start)
    if resuming:
        headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
    times = (patience.connect_seconds, patience.read_seconds)
    with _answer(session, url, headers, times) as response:
        if resuming and response.status_code == _PARTIAL:
            _check_continues(response, origin, start, part)
        elif response.status_code == _OK:
            part.begin(_whole_file(url, response, checkpoint))
        else:
            _refuse(response, part)
        part.append(_blocks(response), progress)
    length = part.origin.length
    if length is not None and part.size != length:
        too_long = part.size > length
        if too_long:
            part.discard()
        raise _BrokenError("sent too much" if too_long else "broke off")


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str], times: tuple[float, float]
) -> Iterator[requests.Response]:
    try:
        response = session.get(url, headers=headers, stream=True, timeout=times)
    except requests.Timeout as error:
        raise _BrokenError("gave no answer in time") from error
    except requests.exceptions.SSLError as error:
        raise _RefusedError("has no certificate that this computer trusts") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _BrokenError("could not be reached") from error
    except requests.TooManyRedirects as error:
        raise _RefusedError("redirects without end") from error
    except requests.RequestException as error:
        raise _RefusedError(f"cannot be asked ({type(error).__name__})") from error
    with response:
        yield response


def _check_continues(response: requests.Response, origin: Origin, start: int, part: Part) -> None:
    """Start again unless a partial answer is the rest of the very bytes that are here."""
    told = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", told)
    fits = match is not None and int(match[1]) == start
    if fits and match is not None and origin.length is not None:
        last = origin.length - 1
        fits = int(match[2]) == last and match[3] in ("*", str(origin.length))
    other_version = origin.etag and response.headers.get("ETag", origin.etag) != origin.etag
    if not fits or other_version:
        part.discard()
        raise _BrokenError(f"sent something other than the rest ('{told}')")


def _whole_file(url: str, response: requests.Response, checkpoint: Checkpoint) -> Origin:
    """What an answer is the beginning of.

    Raises:
        _RefusedError: it cannot be the file, or nobody could tell when it is whole.
    """
    headers, length = response.headers, _length(response)
    if headers.get("Content-Type", "").startswith("text/html"):
        raise _RefusedError("answered with a web page instead of the file")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _RefusedError(f"sends the file encoded as '{headers['Content-Encoding']}'")
    expected = checkpoint.size_bytes
    if length is not None and expected is not None and length != expected:
        raise _RefusedError(f"offers {length} bytes, but the published file has {expected}")
    delimited = length is not None or headers.get("Transfer-Encoding") == "chunked"
    if not delimited and expected is None and not checkpoint.sha256_prefix:
        raise _RefusedError("does not say how long the file is")
    return Origin(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), length)


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _refuse(response: requests.Response, part: Part) -> None:
    """Raise what an answer without the file means."""
    status = f"answered {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code == _BAD_RANGE:
        part.discard()
        raise _BrokenError(status)
    if response.status_code in _PASSING:
        raise _BrokenError(status)
    raise _RefusedError(status)


def _finish(path: Path, url: str, part: Part, checkpoint: Checkpoint) -> Receipt:
    """Check the bytes, then give them their name.

    Raises:
        _RefusedError: they are not the published file; they are deleted.
    """
    size, sha256 = part.size, part.sha256()
    if checkpoint.size_bytes not in (None, size):
        part.discard()
        raise _RefusedError(
            f"sent {size} bytes, but the published file has {checkpoint.size_bytes}"
        )
    if not sha256.startswith(checkpoint.sha256_prefix):
        part.discard()
        raise _RefusedError(
            f"sent another file: its SHA-256 begins with {sha256[:12]}, not with "
            f"{published(checkpoint)}"
        )
    part.sync()
    receipt = Receipt(url, sha256, size, datetime.now(UTC).isoformat(timespec="seconds"))
    receipt.write(path)
    part.rename(path)
    return receipt
