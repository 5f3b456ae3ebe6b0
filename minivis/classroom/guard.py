"""The course folder stays as it was where submissions are not isolated: compared after each one, and put right.

Not here: a sandbox (isolation.py). This only notices what a submission did to the folder while it ran.
"""

import shutil
from pathlib import Path

__all__ = ["Guard"]

MOST_KEPT = 50 * 2**20  # bytes: a larger file is compared by size and time, and cannot be brought back


class Guard:
    """Remembers a folder, in memory; `restore` brings back what was changed, deleted or added since.

    Parameters
    ----------
    folder : Path
        Not a link: what a link points to could be changed under it.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.remember()

    def remember(self):
        """The folder is right as it is now."""
        self.before = _contents(self.folder)

    def restore(self):
        """Put the folder right.

        Returns
        -------
        list of str
            Relative paths of what had been changed, deleted or added.
        """
        if self.folder.is_symlink() or not self.folder.is_dir():
            self.folder.unlink(missing_ok=True)
            self.folder.mkdir(parents=True)
        now = _contents(self.folder)
        changed = sorted(
            name for name in self.before.keys() | now.keys() if self.before.get(name) != now.get(name)
        )
        lost = {
            name for name in changed if self.before.get(name, ("",))[0] in ("large", "device", "unreadable")
        }
        for name in sorted(changed, reverse=True):  # what lies in a folder before the folder itself
            if name in now and name not in lost:
                path = self.folder / name
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)
        for name in changed:
            if name in self.before and name not in lost:
                _write(self.folder / name, *self.before[name])
        return changed


def _contents(folder):
    """Relative path -> what it is, and what is in it."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path):
    if path.is_symlink():
        return "link", str(path.readlink())
    if path.is_dir():
        return "folder", None
    if not path.is_file():
        return "device", None
    status = path.stat()
    if status.st_size > MOST_KEPT:
        return "large", (status.st_size, status.st_mtime_ns)
    try:
        return "file", path.read_bytes()
    except OSError:  # a submission may have taken the right to read it away
        return "unreadable", None


def _write(path, kind, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind == "link":
        path.symlink_to(content)
    elif kind == "file":
        path.write_bytes(content)
