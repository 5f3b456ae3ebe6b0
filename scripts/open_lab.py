"""Open the tour in JupyterLab, with the settings of scripts/lab_settings; the user's own settings are not changed.

Not here: installing (setup.sh). Usage: python scripts/open_lab.py [options of `jupyter lab`].
"""

import os
import sys
from pathlib import Path

from jupyterlab.labapp import LabApp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `scripts` is a folder, not a package that is installed

from scripts.pair_notebooks import NOTEBOOKS, PYTHON  # noqa: E402 (it is found through the line above)

SETTINGS = ROOT / "scripts" / "lab_settings"


def environment(given=os.environ):
    """Variables for the lab's kernels and terminals, so that `!minivis` is found and our settings come first."""
    first = {"PATH": Path(sys.executable).parent, "JUPYTER_CONFIG_PATH": SETTINGS}
    return {
        name: os.pathsep.join([str(path), *filter(None, [given.get(name)])]) for name, path in first.items()
    }


def arguments():
    """Options for `jupyter lab`: its first page, and --allow-root if needed."""
    chosen = [f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb"]
    return [*chosen, "--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else chosen


def keep_metadata(model, path, contents_manager, **_):
    """Before one of our notebooks is saved: replace this machine's Python version, which JupyterLab adds, by the common one.

    So a notebook that was only opened and saved does not change, and git shows no difference. Cells and outputs are saved
    as usual.
    """
    ours = (Path(contents_manager.root_dir) / path.strip("/")).resolve().parent == NOTEBOOKS
    if ours and model["type"] == "notebook":
        metadata = model["content"]["metadata"]
        if metadata.get("kernelspec", {}).get("name") == PYTHON["kernelspec"]["name"]:
            metadata.update(PYTHON)


def main():
    """Start the server and the browser, and serve until Ctrl-C."""
    os.environ.update(environment())
    server = LabApp.initialize_server(argv=[*arguments(), *sys.argv[1:]])
    server.contents_manager.register_pre_save_hook(keep_metadata)
    server.start()


if __name__ == "__main__":
    main()
