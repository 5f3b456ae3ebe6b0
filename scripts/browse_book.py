"""Opens every page of the book in a headless Chromium, without a network.

Not here: checks of the files alone (check_book.py). Every wait has a limit, and a page that reaches it is named.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from scripts.system_packages import install

PHONE, LAPTOP = (390, 844), (1280, 900)  # viewports, in CSS pixels
MIN_CONTRAST = 4.5  # WCAG AA, for text of ordinary size
PAGE_LIMIT = 60  # seconds to load a page, and again to look at it
ANSWER_LIMIT = (
    90  # seconds for any answer of the driver; above PAGE_LIMIT, so that the driver reports it first
)
FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync disable-default-apps disable-extensions"
).split()

# Waits for the equations, then examines the page; returns a dict.
LOOK = """
const done = arguments[0];
const luminance = c => { const [r, g, b] = c.map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const numbers = text => text.match(/[\\d.]+/g).map(Number);
const opaque = c => c.length < 4 || c[3] > 0.5;
function behind(element) {
    for (; element; element = element.parentElement) {
        const c = numbers(getComputedStyle(element).backgroundColor);
        if (opaque(c)) return c.slice(0, 3);
    }
    return [255, 255, 255];
}
function faintest() {
    let worst = {ratio: 99, text: ""};
    for (const e of document.querySelectorAll("article p, article li, article td, article th, article h1, article h2, article dt, article pre span, article a")) {
        const text = [...e.childNodes].filter(n => n.nodeType == 3).map(n => n.data).join("").trim();
        if (!text || !e.offsetParent) continue;
        const [a, b] = [luminance(numbers(getComputedStyle(e).color).slice(0, 3)), luminance(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < worst.ratio) worst = {ratio, text: text.slice(0, 60)};
    }
    return worst;
}
async function look() {
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    const still = document.createElement("style");
    still.textContent = "* { transition: none !important; }";
    document.head.append(still);
    const found = {
        broken_math: [...document.querySelectorAll("mjx-merror")].map(e => e.textContent.slice(0, 80)),
        raw_math: [...document.querySelectorAll("article .math")].filter(e => !e.querySelector("mjx-container")).length,
        width: document.scrollingElement.scrollWidth, screen: window.innerWidth, contrast: {},
    };
    for (const theme of ["light", "dark"]) {
        document.documentElement.dataset.theme = theme;
        document.documentElement.dataset.mode = theme;
        found.contrast[theme] = faintest();
    }
    return found;
}
look().then(done, error => done({error: String(error)}));
"""


def tools():
    """The paths of the browser and its driver; installs them with apt if possible, otherwise exits with a message."""

    def find():
        browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))
        return next(filter(None, browsers), None), shutil.which("chromedriver")

    if not all(find()):
        install("chromium", "chromium-driver")
    if not all(find()):
        sys.exit(
            "book-check: needs Chromium and its driver (Debian: apt install chromium chromium-driver). "
            "BOOK_CHECK=static make book-check checks the files without a browser."
        )
    return find()


def start(profile):
    """A browser with its own profile that logs the console messages and requests of its pages."""
    from selenium import webdriver  # in the book extra; the other functions are tested without it
    from selenium.webdriver.chrome.service import Service

    browser, driver = tools()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in [*FLAGS, f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))  # Selenium gives it two minutes
    browser.command_executor.client_config.timeout = ANSWER_LIMIT
    browser.set_page_load_timeout(PAGE_LIMIT)
    browser.set_script_timeout(PAGE_LIMIT)
    return browser


def set_viewport(browser, size):
    """Give the page a screen of this size."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def logged(browser, name):
    """Errors in the console and requests to the network since the last call."""
    found = [
        f"{name}: the console says {entry['message'][:160]}"
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
    ]
    # chrome: pages are those of the browser itself
    own = ("file:", "data:", "blob:", "chrome:", "chrome-untrusted:")
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(own):
                found.append(f"{name}: asks the network for {url[:120]}")
    return found


def open_page(browser, html, name):
    """Open a page; return its problems."""
    browser.get((html / name).as_uri())
    seen = browser.execute_async_script(LOOK)
    if "error" in seen:
        return [f"{name}: {seen['error']}", *logged(browser, name)]
    found = [f"{name}: broken equation: {text}" for text in seen["broken_math"]]
    if seen["raw_math"]:
        found.append(f"{name}: {seen['raw_math']} equations were left as TeX")
    if seen["width"] > seen["screen"]:
        found.append(f"{name}: {seen['width']} pixels wide on a screen of {seen['screen']}")
    for theme, worst in seen["contrast"].items():
        if worst["ratio"] < MIN_CONTRAST:
            found.append(f"{name}: contrast {worst['ratio']:.1f} in {theme} mode: {worst['text']}")
    return found + logged(browser, name)


def search(browser, html, words, wanted):
    """Search for words as a reader does; return a problem if the wanted page is not among the results."""
    browser.get(f"{(html / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
    script = """
        const done = arguments[0], begun = Date.now();
        const links = () => [...document.querySelectorAll("#search-results li a")].map(a => a.getAttribute("href"));
        const status = () => document.querySelector("#search-results .search-summary")?.textContent || "";
        (function wait() {
            if (/finished/i.test(status()) || Date.now() - begun > 20000) return done(links());
            setTimeout(wait, 200);
        })();
    """
    links = browser.execute_async_script(script)
    found = logged(browser, "search.html")
    if not any(wanted in link for link in links):
        found.insert(0, f"search.html: {words!r} finds {links[:5]}, not {wanted}")
    return found


def each(browser, html, pages):
    """Open every page on a phone's screen, then search on a laptop's; return the problems, one line each.

    Stops at a page on which the browser hangs: scripts that still run would block the next page too.
    """
    found = []
    at = "the first page"
    try:
        set_viewport(browser, PHONE)
        for at in pages:
            found += open_page(browser, html, at)
        at = "search.html"
        set_viewport(browser, LAPTOP)
        found += search(browser, html, "shifted window", "notebooks/10_swin.html")
    except Exception as error:  # any error of Selenium or its connection is a problem of this page
        found.append(f"{at}: stuck, or the browser is; nothing after it was looked at: {in_short(error)}")
    return found


def in_short(error):
    """The name of an exception and its first line; after that Selenium lists the steps of the driver."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].removeprefix('Message: ')[:160]}"


def browse(html, pages):
    """Start a browser, open every page, and search; return the problems, one line each."""
    profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with profile as folder, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(kill_all, folder)
        try:
            browser = start(folder)
        except Exception as error:
            return [f"the browser does not start: {in_short(error)}"]
        at_the_end.callback(leave, browser)
        return each(browser, html, pages)


def leave(browser):
    """End the browser and its driver, if they still answer."""
    browser.command_executor.client_config.timeout = 10
    with contextlib.suppress(Exception):  # `kill_all` comes after
        browser.quit()


def kill_all(profile):
    """Kill all processes of a browser, found in /proc by its profile; without /proc the driver has to end them."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended already, or belongs to another user
            if profile in (process / "cmdline").read_text(errors="replace"):
                os.kill(int(process.name), signal.SIGKILL)
