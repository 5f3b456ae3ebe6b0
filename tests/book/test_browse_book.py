"""What the check in a browser does with pages that are wrong, or stuck: a made-up browser gives what a real one would.

Not here: a real browser; `make book-check` starts one.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import browse_book

GOOD = {
    "broken_math": [],
    "raw_math": 0,
    "width": 390,
    "screen": 390,
    "contrast": {"light": {"ratio": 9, "text": "x"}, "dark": {"ratio": 9, "text": "x"}},
}


class Browser:
    """Gives, for each page, what was prepared: a dict for LOOK, or an error to raise."""

    def __init__(self, **pages):
        self.pages = pages
        self.opened = []
        self.logs = {"browser": [], "performance": []}

    def get(self, url):
        self.opened.append(url.rpartition("/")[2].partition(".")[0])

    def execute_async_script(self, script):
        answer = self.pages.get(self.opened[-1], GOOD)
        if isinstance(answer, Exception):
            raise answer
        return ["notebooks/10_swin.html"] if self.opened[-1] == "search" else answer

    def execute_cdp_cmd(self, command, arguments):
        pass

    def get_log(self, name):
        logs = self.logs[name]
        self.logs[name] = []
        return logs


def found(browser, tmp_path):
    return browse_book.each(browser, tmp_path, ["a.html", "b.html"])


def test_good_pages_are_all_opened_and_have_no_problems(tmp_path):
    browser = Browser()
    assert found(browser, tmp_path) == [] and browser.opened == ["a", "b", "search"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"broken_math": ["Undefined control sequence"]}, "broken equation: Undefined control sequence"),
        ({"raw_math": 2}, "2 equations were left as TeX"),
        ({"width": 500}, "500 pixels wide on a screen of 390"),
        (
            {"contrast": {"light": {"ratio": 1.5, "text": "faint"}, "dark": {"ratio": 9, "text": "x"}}},
            "contrast 1.5 in light mode: faint",
        ),
        ({"error": "TypeError: no"}, "TypeError: no"),
    ],
)
def test_what_is_wrong_is_said_of_its_page(tmp_path, wrong, complaint):
    assert found(Browser(b={**GOOD, **wrong}), tmp_path) == [f"b.html: {complaint}"]


def test_what_a_page_logs_is_said_of_that_page_and_not_of_the_next(tmp_path):
    browser = Browser(a={"error": "no"})
    request = '{"message": {"method": "Network.requestWillBeSent", "params": {"request": {"url": "%s"}}}}'
    browser.logs["browser"] = [{"level": "SEVERE", "message": "oh"}, {"level": "INFO", "message": "fine"}]
    browser.logs["performance"] = [
        {"message": request % url} for url in ("file:///a.html", "https://cdn.example.org/x.js")
    ]
    assert found(browser, tmp_path) == [
        "a.html: no",
        "a.html: the console says oh",
        "a.html: asks the network for https://cdn.example.org/x.js",
    ]


def test_a_page_that_does_not_come_back_is_named_and_is_the_last(tmp_path):
    browser = Browser(a=TimeoutError("Message: script timeout\n  (Session info: chrome)"))
    says = "a.html: stuck, or the browser is; nothing after it was looked at: TimeoutError: script timeout"
    assert found(browser, tmp_path) == [says] and browser.opened == ["a"]


def test_a_browser_that_does_not_start_is_a_problem(tmp_path, monkeypatch):
    def start(profile):
        raise ConnectionError("no answer")

    monkeypatch.setattr(browse_book, "start", start)
    assert browse_book.browse(tmp_path, ["a.html"]) == [
        "the browser does not start: ConnectionError: no answer"
    ]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_what_is_left_of_a_browser_is_ended_and_nothing_else():
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours, other = (subprocess.Popen([*sleeps, f"--user-data-dir=/tmp/{name}"]) for name in ("p-1", "p-2"))
    try:
        browse_book.kill_all("/tmp/p-1")
        assert ours.wait(timeout=30) < 0 and other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
