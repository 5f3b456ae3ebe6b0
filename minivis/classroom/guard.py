"""The course folder stays as it was: hashed before and after each submission, and put right where it differs.

Not here: a sandbox. A submission runs with the teacher's rights; this notices what it did to the folder being graded.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

__all__ = ["Guard"]


class Guard:
    """Remembers a folder; `restore` brings back what was changed, deleted or added since.

    Parameters
    ----------
    folder : Path
        Its files are copied to a private temporary folder for as long as the guard is open.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def __enter__(self):
        self._copy = tempfile.TemporaryDirectory(prefix="minivis-guard-", ignore_cleanup_errors=True)
        self.kept = Path(self._copy.name) / "kept"
        shutil.copytree(self.folder, self.kept, symlinks=True)
        self.before = hashes(self.kept)
        return self

    def __exit__(self, *_):
        self._copy.cleanup()

    def restore(self):
        """Put the folder right.

        Returns
        -------
        list of str
            Relative paths of what had been changed, deleted or added.
        """
        if not self.folder.is_dir():
            self.folder.unlink(missing_ok=True)
            self.folder.mkdir(parents=True)
        now = hashes(self.folder)
        changed = sorted(
            name for name in self.before.keys() | now.keys() if self.before.get(name) != now.get(name)
        )
        for name in sorted(changed, reverse=True):  # what lies in a folder before the folder itself
            if name in now:
                path = self.folder / name
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
                    missing_ok=True
                )
        for name in changed:
            if name in self.before:
                _copy(self.kept / name, self.folder / name)
        return changed


def hashes(folder):
    """Relative path -> SHA-256 of the content; where links point to; "folder"."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.is_file():
            try:
                with open(path, "rb") as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:  # a submission may have taken the right to read it away
                found[name] = "unreadable"
        else:
            found[name] = "special"
    return found


def _copy(kept, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kept.is_dir() and not kept.is_symlink():
        path.mkdir(exist_ok=True)
    else:
        shutil.copy2(kept, path, follow_symlinks=False)
