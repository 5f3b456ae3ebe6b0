"""A lock that lets one process at a time use a folder. The system releases it when its owner ends, even after a crash.

If the file system has no locks (some network drives), the owner's name in the lock file is used instead. Not here: what
the folder is for (train.py).
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
    """Inside, no other process or thread can enter such a block for the same folder.

    The operating system locks the file ``.lock`` in the folder, which names its owner. It is removed afterwards. If a
    killed process leaves the file behind, it is no longer locked and is taken over.

    Parameters
    ----------
    folder : path
        A folder that exists.
    who : str
        The function that asks; the error begins with it.

    Raises
    ------
    BlockingIOError
        If the folder is in use; the message names the owner. The folder is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, alone_in(folder, "fit"):
    ...     os.listdir(folder)
    ['.lock']
    """
    path = Path(folder) / LOCK
    descriptor = _taken(path)
    while descriptor is None:  # the last owner removed the file after it was opened and before it was locked
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
        if fcntl is None:  # Windows cannot remove an open file
            with contextlib.suppress(OSError):
                path.unlink()


def _taken(path):
    """Try to take the lock. Returns an open, locked descriptor, the name of another owner, or None to try again."""
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
    """Ask the system for the lock: True if we have it, False if another process has it, None if there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            # lock one byte behind the text, so that others can read the text
            os.lseek(descriptor, 2**30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else None
    return True


def _same(descriptor, path):
    """Whether the open file is still the one with that name."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _me():
    return {"process": os.getpid(), "machine": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M")}


def _owner(path):
    """The owner that a lock file names; ``told`` describes it for an error."""
    try:
        owner = json.loads(path.read_text())
        told = f"process {int(owner['process'])} on {owner['machine']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # the file is being written right now
        return {"told": "another process"}
    return {**owner, "told": told}


def _gone(owner):
    """Whether the owner was a process of this machine that has ended. Only used if there are no locks."""
    if fcntl is None or owner.get("machine") != platform.node():
        return False
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # the process belongs to another user
        return False
    return False
