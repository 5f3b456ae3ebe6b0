"""Protects the course folder if submissions are not isolated: compares it after each submission, and restores it.

Not here: a sandbox (isolation.py). This only undoes changes that a submission made to the folder while it ran.
"""

import shutil
from pathlib import Path

__all__ = ["Guard"]

MOST_KEPT = 50 * 2**20  # bytes: larger files are compared by size and time, and cannot be restored


class Guard:
    """Remembers a folder, in memory; `restore` undoes all changes since.

    Parameters
    ----------
    folder : Path
        Not a link: a submission could point a link elsewhere.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.remember()

    def remember(self):
        """Take the folder's present state as the right one."""
        self.before = _contents(self.folder)

    def restore(self):
        """Bring the folder back to its remembered state.

        Returns
        -------
        list of str
            Relative paths of everything that was changed, deleted or added.
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
        for name in sorted(changed, reverse=True):  # files before the folder that they are in
            if name in now and name not in lost:
                path = self.folder / name
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)
        for name in changed:
            if name in self.before and name not in lost:
                _write(self.folder / name, *self.before[name])
        return changed


def _contents(folder):
    """Relative path -> (kind, content)."""
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
    except OSError:  # a submission may have removed the permission to read it
        return "unreadable", None


def _write(path, kind, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind == "link":
        path.symlink_to(content)
    elif kind == "file":
        path.write_bytes(content)
