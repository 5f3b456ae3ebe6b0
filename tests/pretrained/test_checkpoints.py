"""The table of published checkpoints: every family has a row, and sizes and parameters agree with each other and with our models.

Not here: whether a hub has them (no network is used in tests).
"""

import pytest

from minivis import models
from minivis.nn import init
from minivis.pretrained import checkpoints, hub
from minivis.pretrained.folder import families

SIZES = {
    "alexnet": models.alexnet_one_tower,
    "fasterrcnn_resnet50_fpn": models.fasterrcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn": models.maskrcnn_resnet50_fpn,
    "rtdetr_r18vd": models.rtdetr_r18vd,
    "vivit-b-16x2-kinetics400": models.vivit_b16x2,
    "deit-base-distilled-patch16-224": models.deit_b16,
    "detr-resnet-50": models.detr_r50,
    "dinov2-base": models.dinov2_b14,
    "dinov2-small": models.dinov2_s14,
    "resnet-50": models.resnet50,
    "swin-tiny-patch4-window7-224": models.swin_t,
    "vgg16": models.vgg16,
    "vit-base-patch16-224": models.vit_b16,
}


def test_every_family_has_a_row_and_a_title():
    modules = {family.build.__module__.rpartition(".")[2] for family in families()}
    assert set(checkpoints.TITLES) == modules
    rows = checkpoints.table()
    assert {row["family"] for row in rows} == set(checkpoints.TITLES.values())
    assert all(row["name"] for row in rows)
    assert {row["name"] for row in rows} == {*checkpoints.KNOWN, *checkpoints.OTHERS}
    assert {kind for row in rows for kind in row["types"].split(", ")} == {
        kind for family in families() for kind in family.model_types
    }


def test_megabytes_are_four_bytes_a_parameter():
    for row in checkpoints.table():
        assert row["MB"] == pytest.approx(4 * row["parameters"], rel=0.02), row["name"]


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_our_model(name):
    with init.skip_init():
        model = SIZES[name]()
    known = {**checkpoints.KNOWN, **checkpoints.OTHERS}[name]
    assert known.parameters == pytest.approx(sum(p.size for p in model.parameters()) / 1e6, rel=0.005)


def test_weights_in_a_pull_request_are_fetched_from_there():
    assert hub._named("vivit-b-16x2-kinetics400")[2] == "refs/pr/3"
    assert hub._named("vivit-b-16x2-kinetics400@main")[2] == "main"
    assert hub._named("dinov2-small")[2] == "main"
