"""`minivis check NAME FILE.py:FUNCTION`: find a function in a file and check it against its laws.

Not here: the command line itself (minivis/cli.py), the laws.
"""

import contextlib
import difflib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

from minivis.laws.judging.registry import family_of
from minivis.laws.judging.sandbox import Alarm, TimeIsUp, learner_line
from minivis.laws.judging.worker import judge_apart

__all__ = ["check_file", "load_function"]

LOADING_LIMIT = 20.0  # seconds for the file itself: it may import large libraries


def check_file(name, target, vjp=False):
    """Check a function in a file; print the report, or the reason why there is none.

    Parameters
    ----------
    name : str
        What it implements, one of `names()`.
    target : str
        ``FILE.py:FUNCTION``.
    vjp : bool
        As for `judge_apart`.

    Returns
    -------
    int
        0 when every law holds; 1 when one does not, or when there is nothing to judge (the reason goes to stderr).
    """
    try:
        family_of(name)
        # in a process of its own: a function that ends the process does not pass
        report = judge_apart(name, load_function(target), vjp)
        report.print()
        return 0 if report.passed else 1
    except (ValueError, TypeError) as error:
        print(f"minivis {error}", file=sys.stderr)
        return 1


def load_function(target):
    """The function named by ``FILE.py:FUNCTION``; a ValueError says what is wrong if there is none."""
    file, colon, function = target.rpartition(":")
    if not colon or not function.isidentifier():
        raise ValueError(f"check: {target!r} does not name a function; write FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"check: there is no file {file!r}{_nearest_file(path)}")
    module = vars(_load(path))
    found = module.get(function)
    if found is None:
        own = [
            n
            for n, value in module.items()
            if getattr(value, "__module__", "") == path.stem and callable(value)
        ]
        near = difflib.get_close_matches(function, own, n=1, cutoff=0.5)
        suggestion = (
            f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(own) or 'none at all'}"
        )
        raise ValueError(f"check: {file} has no function {function!r}{suggestion}")
    if not callable(found):
        raise ValueError(f"check: {function} in {file} is {type(found).__name__}, not a function")
    return found


def _load(path):
    """Run a file as a module; every failure becomes a ValueError that names the line."""
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        raise ValueError(f"check: {path} is not valid Python: {_where(error)}") from None
    loader = SourceFileLoader(path.stem, str(path))  # whatever the file's name ends in
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    with _importable(path, module), Alarm() as alarm:
        try:
            with alarm.limit(LOADING_LIMIT):
                exec(code, vars(module))
        except KeyboardInterrupt:
            raise
        except TimeIsUp as error:
            place = learner_line(error, None, str(path))
            raise ValueError(
                f"check: running {path} did not end within {LOADING_LIMIT:.0f} s{place}"
            ) from None
        except BaseException as error:
            place = learner_line(error, None, str(path))
            raise ValueError(f"check: running {path} raised {type(error).__name__}: {error}{place}") from None
    return module


def _where(error):
    if not isinstance(error, SyntaxError):
        return str(error)
    line = f"\n    {error.text.strip()}" if error.text else ""
    return f"{error.msg} (line {error.lineno}){line}"


@contextlib.contextmanager
def _importable(path, module):
    """Let the file import itself and the files beside it, as when it is run as a script."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.path.remove(folder)
        if before is not None:  # a solution called numpy.py must not replace NumPy
            sys.modules[module.__name__] = before


def _nearest_file(path):
    if not path.parent.is_dir():
        return f": the folder {str(path.parent)!r} does not exist"
    near = difflib.get_close_matches(
        path.name, [p.name for p in path.parent.glob("*.py") if p.is_file()], n=1, cutoff=0.6
    )
    return f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""
