"""The process in which a submission runs: it runs the cells, then calls their functions on request.

Not here: any verdict. The laws are tried in another process, which sends inputs and receives outputs; a submission can
replace functions only in its own process. Run as a script, by its path, so that minivis is not imported.
"""

import builtins
import difflib
import importlib.util
import linecache
import os
import re
import shutil
import sys
import types
from collections import OrderedDict
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_PRINTED = 2000  # characters of one call's output, or of an error, that are sent
MOST_KEPT = 32  # returned functions (vjp) that can still be called


def _load(name, path):
    """Load a module from its file: importing it from its package would import minivis."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


wire = _load("_wire", HERE / "wire.py")
closed = _load("_closed", HERE / "closed.py")
sandbox = _load("_sandbox", HERE.parent / "laws" / "judging" / "sandbox.py")


class Paper:
    """A file that discards what is printed while no call runs, for example by a thread."""

    encoding = "utf-8"

    def write(self, text):
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


class Cell:
    """A cell as a function, so that errors name lines of the learner's cell."""

    def __init__(self, code, names):
        self.__code__, self.names = code, names

    def __call__(self):
        exec(self.__code__, self.names)


class Host:
    """The names that the cells have defined, and the functions that can be called."""

    def __init__(self, alarm):
        self.alarm = alarm
        self.kept = OrderedDict()
        self.count = 0
        self.module = types.ModuleType("__main__")
        self.names = vars(self.module)
        nothing = lambda *args, **options: None  # noqa: E731
        self.names.update(display=nothing, get_ipython=nothing, __builtins__=builtins)
        sys.modules["__main__"] = self.module

    def load(self, number, source, seconds):
        """Run one cell; returns what went wrong as a sentence, or an empty string."""
        name = f"<cell {number}>"
        source = source if is_python(source) else plain_python(source)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            code = compile(source, name, "exec")
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            text = f"{getattr(error, 'msg', error)}" + (f", line {line}" if line else "")
            return f"Python cannot read it: {text}. None of its lines were run."
        try:
            sandbox.call_safely(Cell(code, self.names), (), {}, self.alarm, seconds)
        except sandbox.Broken as broken:
            words = self.in_words(broken).replace("Your function", "It").replace(" on this small input", "")
            return words[:MOST_PRINTED]
        return ""

    def find(self, expression):
        """Keep the function that an expression gives; returns its number, or a sentence that says why there is none."""
        try:
            found = eval(expression, self.names)
        except NameError as error:
            missing = error.name or expression
            own = [n for n, value in self.names.items() if callable(value) and not n.startswith("_")]
            near = difflib.get_close_matches(missing, own, n=1, cutoff=0.5)
            hint = f" The most similar name in it is {near[0]!r}." if near else ""
            return f"The notebook does not define {missing!r}.{hint}"
        except BaseException as error:
            return f"{expression!r} could not be evaluated: {type(error).__name__}."
        return self.keep(found) if callable(found) else f"{expression!r} is not a function."

    def keep(self, function):
        """Remember a function; returns the number by which it can be called."""
        self.count += 1
        self.kept[self.count] = function
        # Drops the oldest vjp: call() moves the functions of find() to the end.
        if len(self.kept) > MOST_KEPT:
            self.kept.popitem(last=False)
        return self.count

    def call(self, number, args, options, seconds):
        """Call a kept function; returns the answer as a dict that can be sent."""
        function = self.kept[number]
        self.kept.move_to_end(number)
        before = [leaf.tobytes() for leaf in wire.leaves([args, options])]
        try:
            result, printed = sandbox.call_safely(function, args, options, self.alarm, seconds)
        except sandbox.Broken as broken:
            words = self.in_words(broken)[:MOST_PRINTED]
            return {"broken": words, "hint": broken.hint, "hang": broken.hang}
        after = [
            None if leaf.tobytes() == old else leaf
            for leaf, old in zip(wire.leaves([args, options]), before, strict=True)
        ]
        return {"result": result, "printed": printed[:MOST_PRINTED], "written": after}

    def in_words(self, broken):
        """The message of an error, improved where this process knows more than the sandbox."""
        cause = broken.__context__
        if isinstance(cause, closed.Closed):
            broken.hint = "The task is to write it yourself, with NumPy. While grading, libraries with ready answers are closed."
            return str(cause)
        if isinstance(cause, MemoryError):
            broken.hint = "Do you create an array of the wrong size? The inputs are tiny."
            return broken.what.replace(
                "raised a MemoryError", "asked for more memory than there is (MemoryError)"
            )
        return broken.what


def is_python(source):
    """Whether a cell can be compiled as it is: then a line that begins with % is no magic but continues an expression."""
    try:
        compile(source, "<cell>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def plain_python(source):
    """A cell without IPython's syntax: magics and shell lines become `pass`."""
    if re.match(r"\s*%%(?!time\b|timeit\b|capture\b)", source):
        return ""  # the cell is in another language
    lines = source.split("\n")
    for i, line in enumerate(lines):
        if re.match(r"\s*(%|!|\?)", line) or re.fullmatch(r"\s*[\w.]+\?{1,2}\s*", line):
            lines[i] = line[: len(line) - len(line.lstrip())] + "pass"
    return "\n".join(lines)


def limit(memory, seconds):
    """Set the system's own limits of memory, time and file size, where it has them."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end when the judge ends
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in (
        ("RLIMIT_AS", memory),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 100 * 2**20),
        ("RLIMIT_CORE", 0),
    ):
        try:
            resource.setrlimit(getattr(resource, name), (most, most))
        except (AttributeError, ValueError, OSError):
            pass  # macOS has no limit on the address space


def serve(reading, writing, alarm):
    """Answer requests until the other process closes the connection."""
    host = Host(alarm)
    most = wire.MOST_ANSWER
    while True:
        try:
            request = wire.receive(reading)
        except wire.ConnectionLost:
            return
        action = request.pop("do")
        answer = getattr(host, action)(**request)
        try:
            wire.send(writing, answer, host.keep, most)
        except wire.TooLarge as error:
            words = f"Your function returned {error}; the inputs have a few hundred."
            wire.send(writing, {"broken": words, "hint": "Print the shape of the result.", "hang": False})
        except Exception as error:
            words = f"The result of your function could not be read ({type(error).__name__})."
            wire.send(writing, {"broken": words, "hint": "Return a NumPy array.", "hang": False})


def settle(handed_in, place):
    """In isolation: copy the read-only files to this folder, and change to the notebook's folder."""
    shutil.copytree(handed_in, ".", dirs_exist_ok=True)
    os.chdir(place)


def main():
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        settle(*sys.argv[3:])
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # discards everything a submission prints, also from compiled code
        os.dup2(nowhere, standard)
    sys.stdout = sys.stderr = Paper()
    sys.path.insert(0, os.getcwd())
    sys.argv = ["notebook"]
    limit(memory, seconds)
    closed.close()
    with sandbox.Alarm() as alarm:
        serve(reading, writing, alarm)


if __name__ == "__main__":
    main()
