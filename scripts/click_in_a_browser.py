"""Click on `viz.click_segmenter` in JupyterLab, as a reader does, in a headless Chromium: do the masks follow, and where?

Not here: what needs no browser (tests/viz/test_clicks.py). Usage: python scripts/click_in_a_browser.py [FOLDER];
pictures of the screen are left in FOLDER (build/clicks). BOOK_CHECK=static leaves it out, as it does the book's pages.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `scripts` is a folder, not a package that is installed

from scripts import browse_book  # noqa: E402 (it is found through the line above)

START_LIMIT = 120  # seconds until the server answers, and until the first picture is there
FOLLOW_LIMIT = 30  # seconds until a click is answered
NEAR = 1.0  # pixels of the scene between where the mouse was and where the kernel says it was
SHOWN = ".jupyter-matplotlib-canvas-container canvas"
# The notebook. The kernel writes down what it sees after each event: that is what the browser's places are compared with.
CELLS = [
    """
import json
from pathlib import Path
import minivis as mv
from minivis import viz
from minivis.data import shapes
from minivis.viz.clicks import Controls
segmenter = viz.click_segmenter(mv.load("sam-shapes"), shapes.Scenes(4, "held-out").scene(0).image)
shown = Controls(segmenter)
""",
    """
def write(change=None):
    canvas, ax = shown.canvas, shown.axes[0]
    share = lambda x, y: (ax.transData.transform((x, y)) / canvas.figure.bbox.size).tolist()
    state = {"prompts": segmenter.prompts, "says": shown.says.value, "corners": [share(0, 0), share(64, 64)],
             "pixels": 0 if segmenter.mask is None else int(segmenter.mask.sum()), "choice": segmenter.choice,
             "masks": 0 if segmenter.mask is None else len(segmenter.masks)}
    Path("seen.new").write_text(json.dumps(state))
    Path("seen.new").replace("seen.json")
shown.says.observe(write, "value")
shown.canvas.mpl_connect("draw_event", write)
shown.box
""",
]


def write_notebook(folder):
    """Write the notebook that is clicked on."""
    import nbformat

    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "clicks.ipynb")


def how_to_serve(folder, port, token):
    """The command that starts JupyterLab, and its environment."""
    options = {
        "ServerApp.root_dir": folder, "ServerApp.port": port, "ServerApp.ip": "127.0.0.1", "ServerApp.open_browser": False,
        "IdentityProvider.token": token, "ServerApp.allow_root": True, "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None, "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    # its settings, so that those of the user neither matter nor change
    places = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
    )
    own = {place: str(folder / place.lower()) for place in places}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    return command, environment


@contextlib.contextmanager
def serving(folder):
    """JupyterLab for a folder, with settings of its own; gives its address and stops it in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command, environment = how_to_serve(folder, port, token)
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            until(
                "a server",
                lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None,
                START_LIMIT,
            )
            yield f"http://127.0.0.1:{port}/lab/tree/clicks.ipynb?token={token}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def until(what, answer, limit):
    """Ask until there is an answer; TimeoutError names what was waited for."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # not there yet: a page that loads, a file that is not written
            found = answer()
            if found:
                return found
        time.sleep(0.2)
    raise TimeoutError(f"nothing in {limit} seconds: {what}")


class Lab:
    """The opened notebook: where to click, and what the kernel has seen."""

    def __init__(self, browser, folder, address, pictures):
        self.browser, self.folder, self.pictures = browser, folder, pictures

        answers = "return window.jupyterapp && document.querySelector('.jp-Cell') !== null"
        browser.get(address)
        until("JupyterLab with the notebook", lambda: browser.execute_script(answers), START_LIMIT)
        kernel = (
            "return window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        )
        until("a kernel", lambda: browser.execute_script(kernel), START_LIMIT)
        browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        until("the picture", lambda: self.canvas() and self.seen(), START_LIMIT)

    def seen(self):
        """What the kernel wrote down last."""
        return json.loads((self.folder / "seen.json").read_text(encoding="utf-8"))

    def canvas(self):
        """Left, top, width and height of the picture on the page, in CSS pixels."""
        find = (
            f"const r = document.querySelector({SHOWN!r}); r.scrollIntoView({{block: 'center'}});"
            "const b = r.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
        )
        return self.browser.execute_script(find)

    def place(self, x, y):
        """Where a place of the scene is on the page, from the picture's place and the corners of its axes."""
        left, top, width, height = self.canvas()
        (x0, y0), (x1, y1) = self.seen()["corners"]
        return left + width * (x0 + (x1 - x0) * x / 64), top + height * (1 - (y0 + (y1 - y0) * y / 64))

    def mouse(self, *places, shift=False):
        """Press at the first place of the scene, release at the last; returns what the kernel sees then."""
        before = self.seen()["prompts"]
        held = 8 if shift else 0
        for kind, place in (
            ("Moved", places[0]),
            ("Pressed", places[0]),
            ("Moved", places[-1]),
            ("Released", places[-1]),
        ):
            x, y = self.place(*place)
            button = (
                {"button": "left", "buttons": int(kind != "Released"), "clickCount": 1}
                if kind != "Moved"
                else {}
            )
            event = {"type": f"mouse{kind}", "x": x, "y": y, "modifiers": held, **button}
            self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
            time.sleep(0.1)
        until(f"an answer to {places}", lambda: self.seen()["prompts"] != before, FOLLOW_LIMIT)
        return self.seen()

    def press(self, text):
        """Press the button with this text."""
        script = (
            f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() == {text!r}).click()"
        )
        self.browser.execute_script(script)

    def picture(self, name):
        """Save a picture of the screen."""
        time.sleep(1)  # the last picture is on its way
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))


def far(given, clicked):
    """The largest difference between the numbers of a prompt and the places that were clicked."""
    return max(abs(a - b) for a, b in zip(given, clicked, strict=True))


def look(lab):
    """Click, drag, press, and resize; returns the problems, one line each."""
    found = []

    def expect(what, holds):
        if not holds:
            found.append(f"{what}: the kernel has seen {lab.seen()}")

    one = lab.mouse((30, 24))
    expect("a click at (30, 24)", far(one["prompts"][-1], (30, 24, 1)) < NEAR)
    expect("three masks after a click", one["masks"] == 3 and one["pixels"] > 0)
    lab.picture("one_click")
    two = lab.mouse((50, 36), shift=True)
    expect("a click with the shift key at (50, 36)", far(two["prompts"][-1], (50, 36, 0)) < NEAR)
    box = lab.mouse((10, 8), (40, 44))
    expect("a drag from (10, 8) to (40, 44)", far(box["prompts"][-1], (10, 8, 40, 44)) < NEAR)
    expect("a mask that follows", box["pixels"] != two["pixels"])
    lab.picture("points_and_box")
    lab.press("undo")
    until("undo", lambda: len(lab.seen()["prompts"]) == 2, FOLLOW_LIMIT)
    lab.press("clear")
    until("clear", lambda: lab.seen()["prompts"] == [], FOLLOW_LIMIT)
    return found + resized(lab)


def resized(lab):
    """The same after the picture was made smaller, and on a screen with two dots for each pixel."""
    found = []
    for name, size, dots in (("two_dots", (1280, 900), 2), ("narrow", (760, 900), 1)):
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": dots, "mobile": False}
        lab.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        time.sleep(2)
        seen = lab.mouse((12, 50))
        if far(seen["prompts"][-1], (12, 50, 1)) >= NEAR:
            found.append(f"{name}: a click at (12, 50) is seen as {seen['prompts'][-1]}")
        lab.picture(name)
    return found


def main(pictures):
    """Start everything, click, and print the problems; the exit status is 0 if there is none."""
    if os.environ.get("BOOK_CHECK") == "static":
        return print("clicks: left out, because BOOK_CHECK=static")
    pictures.mkdir(parents=True, exist_ok=True)
    browse_book.tools()
    with contextlib.ExitStack() as stack:
        enter = lambda: Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))  # noqa: E731
        folder, profile = enter(), enter()
        write_notebook(folder)
        address = stack.enter_context(serving(folder))
        stack.callback(browse_book.kill_all, str(profile))
        browser = browse_book.start(profile)
        stack.callback(browse_book.leave, browser)
        browse_book.set_viewport(browser, browse_book.LAPTOP)
        try:
            found = look(Lab(browser, folder, address, pictures))
        except TimeoutError as error:
            browser.save_screenshot(str(pictures / "stuck.png"))
            found = [str(error), (folder / "server.log").read_text(errors="replace")[-2000:]]
    if found:
        sys.exit("\n".join(f"clicks: {line}" for line in found))
    print(f"clicks: the masks follow the mouse; pictures are in {pictures}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "clicks")
