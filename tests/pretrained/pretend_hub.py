"""A pretend model hub on this machine for the tests of `fetch`: it answers as the hub does, and breaks where it is told to.

Not here: tests.
"""

import hashlib
import http.server
import json
import threading
from urllib.parse import unquote

COMMIT = "c0ffee" * 6 + "c0ff"
LARGE = 1000  # bytes; the hub redirects larger files to its storage, the name of whose answers is not their checksum


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class PretendHub(http.server.ThreadingHTTPServer):
    """Repositories as {"owner/model": {file: bytes}}, on a free port of this machine.

    Attributes
    ----------
    asked : list of (str, str, str or None)
        Method, path and Range of every request.
    break_after : int or None
        The storage sends so many bytes of an answer and closes the connection.
    ranges : bool
        Whether the storage can send a part of a file.
    damaged, longer : bool
        Whether the storage sends other bytes, or more of them, than the hub announced.
    status : int or None
        Every answer has this status.
    silent : bool
        Redirects say neither the size nor the checksum of what is in the storage, as those of a simple mirror.
    redirect : str or None
        Every answer is a redirect to this address; "" is one without an address, "self" one to the same.
    moved : dict of str to str
        Old names of repositories.
    gated : set of str
    """

    daemon_threads = True

    def __init__(self, repositories):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories = repositories
        self.asked = []
        self.moved = {}
        self.gated = set()
        self.break_after = self.status = None
        self.damaged = self.longer = self.silent = False
        self.redirect = None
        self.ranges = True
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def close(self):
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, client_address):
        """Clients close connections early, too."""


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        if hub.status:
            return self.reply(hub.status)
        if hub.redirect is not None:
            to = self.path if hub.redirect == "self" else hub.redirect
            return self.reply(302, {"Location": to} if to else {}, b"not here")
        kind, *rest = unquote(self.path).lstrip("/").split("/")
        if kind == "storage":
            return self.storage("/".join(rest[:2]), "/".join(rest[2:]))
        repository = f"{kind}/{rest[0]}"
        revision = rest[2]
        file = "/".join(rest[3:])
        if repository in hub.moved:
            return self.reply(307, {"Location": self.path.replace(repository, hub.moved[repository])})
        if repository not in hub.repositories:
            return self.reply(401, {"X-Error-Code": "RepoNotFound"})
        if repository in hub.gated:
            return self.reply(403, {"X-Error-Code": "GatedRepo"})
        if revision not in ("main", COMMIT):
            return self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        content = hub.repositories[repository].get(file)
        if content is None:
            return self.reply(404, {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT}
        if len(content) <= LARGE:
            return self.reply(200, {**headers, "ETag": f'"{git_sha1(content)}"'}, content)
        if not hub.silent:
            headers["X-Linked-Size"] = str(len(content))
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        # another host as far as a client can see: large files do not lie on the hub itself
        storage = f"http://localhost:{hub.server_port}/storage/{repository}/{file}"
        return self.reply(302, {**headers, "Location": storage, "ETag": '"of the redirect"'}, b"over there")

    def storage(self, repository, file):
        hub = self.server
        content = hub.repositories[repository][file]
        if hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if hub.longer:
            content += b"more"
        start = (
            int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in self.headers else 0
        )
        headers = {"ETag": '"storage"'}
        if start and hub.ranges:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.reply(206, headers, content[start:])
        return self.reply(200, headers, content)

    def reply(self, status, headers=(), content=b""):
        hub = self.server
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.break_after is not None and len(content) > hub.break_after:
            content = content[: hub.break_after]
            self.close_connection = True
        self.wfile.write(content)


def index_of(shards):
    """model.safetensors.index.json for {file: names of its arrays}."""
    names = {name: file for file, inside in shards.items() for name in inside}
    return json.dumps({"metadata": {}, "weight_map": names}).encode()
