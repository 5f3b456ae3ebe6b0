"""Download files of the model hub with its own package, huggingface_hub, where that is installed.

It knows logins and the hub's faster transfers. Not here: the plain way (https.py), which does without it.
"""

import contextlib
import importlib.util
import shutil

from minivis.pretrained.https import Remote, checked, endpoint

__all__ = ["download", "installed", "look_up"]


def installed():
    """Whether huggingface_hub is there."""
    return importlib.util.find_spec("huggingface_hub") is not None


def look_up(repository, revision, file):
    """As `minivis.pretrained.https.look_up`."""
    import huggingface_hub as hub

    url = hub.hf_hub_url(repository, file, revision=revision, endpoint=endpoint())
    with _in_words(repository):
        try:
            found = hub.get_hf_file_metadata(url)
        except hub.errors.EntryNotFoundError as error:
            if isinstance(error, hub.errors.LocalEntryNotFoundError):  # no network
                raise
            return None
    return Remote(url, found.size, found.etag, found.commit_hash)


def download(repository, file, remote, folder):
    """Download one file into a folder; huggingface_hub shows its own progress bar. Return its SHA-256."""
    import huggingface_hub as hub

    revision = remote.commit
    with _in_words(repository):
        hub.hf_hub_download(repository, file, revision=revision, local_dir=folder, endpoint=endpoint())
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # its notes about what it downloaded
    checksum = remote.checksum if remote.checksum and len(remote.checksum) in (40, 64) else None
    return checked(folder / file, checksum, remote.size, remote.url)


@contextlib.contextmanager
def _in_words(repository):
    """huggingface_hub's errors as those of `minivis.pretrained.https`; their types differ between its versions."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"fetch: {page} gives its files only to people who have accepted its licence: accept it there, then "
            "`hf auth login`, and fetch again"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"fetch: there is no such public repository or version on the hub: {page}; check the spelling of its name"
        ) from error
    except errors.EntryNotFoundError as error:
        if not isinstance(error, errors.LocalEntryNotFoundError):
            raise
        raise ConnectionError(f"fetch: {page} cannot be reached: {_first_line(error)}") from error
    except Exception as error:
        raise ConnectionError(f"fetch: {page} cannot be reached: {_first_line(error)}") from error


def _first_line(error):
    return next(iter(str(error).splitlines()), "") or type(error).__name__
