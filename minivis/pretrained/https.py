"""Download a file of the model hub over https: what the hub says about it, its bytes, and its checksum.

Not here: which files a model has, and where they go (hub.py). This is the only module that uses the network, and only when
`minivis fetch` is called.
"""

import hashlib
import os
import re
import time
from typing import NamedTuple

__all__ = ["HUB", "Remote", "address", "checked", "download", "endpoint", "look_up"]

HUB = "https://huggingface.co"
SECONDS = 20  # without an answer, or without a byte
ATTEMPTS = 5  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second attempt; twice that before the third, and so on
CHUNK = 2**20
# identity: bytes as they are, so that sizes mean something
AGENT = {"User-Agent": "minivis", "Accept-Encoding": "identity"}
REDIRECTS = {301, 302, 303, 307, 308}
MOST_REDIRECTS = 10


class Remote(NamedTuple):
    """A file on the hub.

    Attributes
    ----------
    url : str
    size : int or None
        In bytes.
    checksum : str or None
        64 hexadecimal digits: SHA-256 of the content (large files). 40: the SHA-1 that git gives the content (small files).
    commit : str or None
        The version of the repository.
    """

    url: str
    size: int | None
    checksum: str | None
    commit: str | None = None


def endpoint():
    """The address of the hub: the environment variable HF_ENDPOINT, which the hub's own tools use too, or its usual one."""
    url = _safe(os.environ.get("HF_ENDPOINT") or HUB)
    if re.search(r"[\s?#]", url):  # the names of repositories and files follow it
        raise ValueError(f"fetch: HF_ENDPOINT must be an address without spaces, ? and #, got {url!r:.200}")
    return url.rstrip("/")


def address(repository, revision, file):
    """The address of a file of a repository."""
    from urllib.parse import quote

    return f"{endpoint()}/{repository}/resolve/{quote(revision, safe='')}/{quote(file)}"


def look_up(url):
    """What the hub says about a file, without downloading it.

    Parameters
    ----------
    url : str
        From `address`.

    Returns
    -------
    Remote or None
        None if the repository has no such file.

    Raises
    ------
    PermissionError
        If its owner gives the files only to people who have accepted the licence.
    FileNotFoundError
        If there is no such repository or version.
    ConnectionError
        If the hub cannot be reached or answers with an error of its own.
    """
    with _answer(url, method="HEAD", follow=False) as answer:
        if _says(answer, url) is None:
            return None
        headers = answer.headers
        own = {} if answer.status in REDIRECTS else headers  # a redirect has a length and a tag of its own
    size = headers.get("X-Linked-Size") or own.get("Content-Length") or ""
    tag = (headers.get("X-Linked-Etag") or own.get("ETag") or "").removeprefix("W/").strip('"').lower()
    return Remote(
        url,
        int(size) if re.fullmatch("[0-9]{1,18}", size) else None,
        tag if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", tag) else None,
        headers.get("X-Repo-Commit"),
    )


def _says(answer, url):
    """The status of an answer if it has the file, None if the file does not exist; other errors are raised in words."""
    code = answer.headers.get("X-Error-Code", "")
    page = url.split("/resolve/")[0]
    if answer.status < 300 or answer.status in REDIRECTS:
        return answer.status
    if code == "EntryNotFound":
        return None
    if code == "GatedRepo" or answer.status == 403:
        raise PermissionError(
            f"fetch: {page} gives its files only to people who have accepted its licence: accept it there, then "
            "`pip install huggingface_hub`, `hf auth login`, and fetch again"
        )
    if answer.status in (401, 404):  # the hub answers 401 for repositories that are private or do not exist
        missing = "version" if code == "RevisionNotFound" else "public repository"
        raise FileNotFoundError(
            f"fetch: there is no such {missing} on the hub: {page} ({answer.status}); check the spelling of its name"
        )
    raise ConnectionError(
        f"fetch: {url} answers {answer.status}: the hub has a problem or too many requests; try again later"
    )


def download(remote, path, progress=None):
    """Download a file, continuing what an earlier attempt left, and check its size and checksum.

    Parameters
    ----------
    remote : Remote
        From `look_up`.
    path : Path
        Where the file goes. Until it is complete, its bytes are in a file beside it whose name ends with ``.part``.
    progress : function of (int), optional
        Called with the number of bytes that arrived, also with those that are already there.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    ConnectionError
        If the connection breaks again and again; what has arrived is kept for the next attempt.
    ValueError
        If the bytes are not those that the hub announced; they are deleted.
    """
    progress = progress or (lambda count: None)
    # the checksum in the name: a part of another version is never continued
    part = path.with_name(f"{path.name}.{(remote.checksum or 'unknown')[:16]}.part")
    if remote.checksum is None or _size(part) > (remote.size or 0):
        part.unlink(missing_ok=True)
    progress(_size(part))
    _all_of_it(remote, part, progress)
    found = checked(part, remote.checksum, remote.size, remote.url)
    os.replace(part, path)
    return found


def _all_of_it(remote, part, progress):
    """Ask again after each break, until a part is complete or several attempts in a row bring nothing new."""
    failures = 0
    most = _size(part)
    while not part.exists() or most != remote.size:
        problem = "it ends too early"
        try:
            _more(remote, part, progress)
            if remote.size is None:
                return
        except ConnectionError as error:
            problem = _told(error).removeprefix("fetch: ")
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == ATTEMPTS:
            raise ConnectionError(
                f"fetch: {problem}; that happened {ATTEMPTS} times in a row. {_size(part):,} of {remote.size or 'unknown'} "
                f"bytes of {remote.url} are kept: fetch again to continue"
            )
        time.sleep(PAUSE * failures)


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _more(remote, part, progress):
    """Ask for the bytes after those that are there, and append them."""
    have = _size(part)
    with _answer(remote.url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status == 416:  # no such range: begin again
            progress(-have)
            part.unlink()
            return
        if _says(answer, remote.url) is None:
            raise FileNotFoundError(f"fetch: {remote.url} is gone")
        start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        continued = answer.status == 206 and start and int(start[1]) == have
        if have and not continued:  # the server sends all of it
            progress(-have)
            have = 0
        with open(part, "ab" if have else "wb") as file:
            _copy(answer, file, remote, have, progress)


def _copy(source, file, remote, have, progress):
    """Copy a stream into a file; refuse more bytes than were announced."""
    while piece := _read(source):
        have += len(piece)
        if remote.size is not None and have > remote.size:
            raise ValueError(f"fetch: {remote.url} sends more than the {remote.size} bytes it announced")
        file.write(piece)
        progress(len(piece))
    if missing := getattr(source, "length", None):  # urllib says nothing of an answer that ends too early
        raise ConnectionError(f"the connection broke: {missing} bytes are missing")
    file.flush()
    os.fsync(file.fileno())


def _read(source):
    from http.client import HTTPException

    try:
        return source.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"the connection broke: {_told(error)}") from error


def checked(path, checksum, size=None, url=None):
    """The SHA-256 of a file. If the file is not what its checksum says, it is deleted and a ValueError says so."""
    has = path.stat().st_size
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % has, usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            sha256.update(piece)
            git.update(piece)
    found = git.hexdigest() if checksum and len(checksum) == 40 else sha256.hexdigest()
    if (checksum and found != checksum) or (size is not None and has != size):
        path.unlink()
        raise ValueError(
            f"fetch: what came from {url or path} is damaged: {has} bytes with the checksum {found}, expected "
            f"{'any number of' if size is None else size} bytes with {checksum}; it was deleted: fetch again. If that repeats "
            "itself, something between here and the server changes files, such as a proxy"
        )
    return sha256.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# https


def _answer(url, headers=None, method="GET", follow=True):
    """The server's answer, whatever its status; to be used in a `with` block."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.parse import urljoin
    from urllib.request import Request

    request = Request(url, headers={**AGENT, **(headers or {})}, method=method)
    try:
        return _opener(follow).open(request, timeout=SECONDS)
    except HTTPError as answer:  # it has a status and headers as well
        if answer.status in REDIRECTS:
            to = _safe(urljoin(answer.url, answer.headers.get("Location") or ""))
            if follow or not _leaves(answer.url, to, answer.headers):
                raise ConnectionError(f"fetch: {url} is redirected in a circle, or nowhere") from answer
        return answer
    except URLError as error:
        raise ConnectionError(f"fetch: {url} cannot be reached: {_told(error.reason)}") from error
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"fetch: the connection to {url} broke: {_told(error)}") from error


def _opener(follow):
    """urllib's opener. It follows redirects to https only, and for `look_up` only those within the hub."""
    from urllib.parse import urljoin
    from urllib.request import HTTPRedirectHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        max_redirections = MOST_REDIRECTS

        def redirect_request(self, request, file, status, message, headers, url):
            url = _safe(urljoin(request.full_url, url))
            if not follow and _leaves(request.full_url, url, headers):
                return None
            return super().redirect_request(request, file, status, message, headers, url)

        http_error_308 = HTTPRedirectHandler.http_error_302

    return build_opener(Redirects)


def _leaves(url, to, headers):
    """Whether a redirect leads to the storage of large files. A repository with a new name is redirected within the hub."""
    from urllib.parse import urlsplit

    return "X-Linked-Etag" in headers or urlsplit(to).netloc != urlsplit(url).netloc


def _safe(url):
    """The address, if it is https; plain http only to this machine itself."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.hostname and not parts.username
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        good = local = False
    if not good or parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"fetch: {url:.200} is not an https address (is HF_ENDPOINT right?)")
    return url


def _told(error):
    """The text of an error, or the name of its type if it has none."""
    return str(error) or type(error).__name__
