"""Draw the pictures of the book's page on one's own pictures: train on sample data, and take them out of the reports.

Not here: the training (minivis/tasks/). Usage: python scripts/own_pictures.py [FOLDER], which keeps data and reports there.
"""

import base64
import re
import sys
import tempfile
from pathlib import Path

from minivis import tasks
from minivis.data import examples
from minivis.storage import write_files

PICTURES = Path(__file__).resolve().parent.parent / "book" / "pictures"
# picture -> what writes the data, the model, and which picture of the report it is
WANTED = {
    "own-mistakes": (examples.write_image_folder, "cnn", 2),
    "own-boxes": (examples.write_coco, "detr", 1),
    "own-masks": (examples.write_mask_folder, "unet", 2),
}


def main(folder):
    for name, (write, model, place) in WANTED.items():
        tasks.train(write(folder / name), model, folder / f"{name}-{model}")
        page = (folder / f"{name}-{model}" / "report.html").read_text(encoding="utf-8")
        found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
        write_files({PICTURES / f"{name}.png": base64.b64decode(found[place])})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
