"""One process at a time in a folder: a lock that the system takes back when its owner ends, however it ends.

Not here: what the folder is for (train.py). Where there is no such lock (some network drives), the owner's name
decides.
"""

import contextlib
import errno
import json
import os
import platform
import time
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["LOCK", "alone_in"]

LOCK = ".lock"


@contextmanager
def alone_in(folder, who):
    """Inside, no other process or thread is alone in the same folder.

    The file ``.lock`` in it is locked by the operating system and names its owner. It is gone afterwards; one that a
    killed process left behind is no longer locked, and is taken over.

    Parameters
    ----------
    folder : path
        It exists.
    who : str
        Who asks: the error begins with it.

    Raises
    ------
    BlockingIOError
        If somebody is there already, and who that is. The folder is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, alone_in(folder, "fit"):
    ...     os.listdir(folder)
    ['.lock']
    """
    path = Path(folder) / LOCK
    descriptor = _taken(path)
    while descriptor is None:  # its last owner removed the file between our opening and our locking it
        descriptor = _taken(path)
    if isinstance(descriptor, str):
        raise BlockingIOError(
            f"{who}: {folder} is in use by {descriptor}: two at once would write over each other. Wait for it, stop it, "
            f"or choose another folder; if there is no such process, delete {path}"
        )
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_me()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if fcntl is None:  # Windows removes no open file
            with contextlib.suppress(OSError):
                path.unlink()


def _taken(path):
    """Try to become the owner: an open, locked descriptor; the owner's name if there is one; None to try again."""
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    locked = _lock(descriptor)
    if locked and not _same(descriptor, path):
        os.close(descriptor)
        return None
    if not locked:
        owner = _owner(path)
        if locked is False or not (new or _gone(owner)):
            os.close(descriptor)
            return owner["told"]
    return descriptor


def _lock(descriptor):
    """Ask the system for the lock: True if it is ours, False if it is another's, None where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(descriptor, 2**30, os.SEEK_SET)  # a byte behind the text, which others may read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else None
    return True


def _same(descriptor, path):
    """Whether the file that we hold is still the one of that name."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _me():
    return {"process": os.getpid(), "machine": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M")}


def _owner(path):
    """Who a lock file names, and how to tell it."""
    try:
        owner = json.loads(path.read_text())
        told = f"process {int(owner['process'])} on {owner['machine']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return {"told": "another process"}
    return {**owner, "told": told}


def _gone(owner):
    """Whether the owner was a process of this machine that has ended: asked where the system has no locks."""
    if fcntl is None or owner.get("machine") != platform.node():
        return False
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False
