"""Small data of each layout, written once for all tests of this folder."""

import pytest

from minivis.data import examples

WRITE = {
    "classes": (examples.write_image_folder, 15),
    "boxes": (examples.write_coco, 8),
    "masks": (examples.write_mask_folder, 8),
}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of each kind of data, by kind. Nobody changes them."""
    place = tmp_path_factory.mktemp("own")
    return {kind: write(place / kind, count=count) for kind, (write, count) in WRITE.items()}
