"""RT-DETR: the published sizes, its encoder and its choice of queries step by step, and that it learns.

Not here: equality with transformers (tests/parity), the loss (tests/losses), published files (tests/pretrained).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import losses, models, nn, ops, optim
from minivis.models.rt_detr import inverse_sigmoid
from minivis.models.rt_detr_encoder import CSPRepLayer, HybridEncoder, RepVGGBlock
from minivis.vision import rt_detr_anchors

RNG = np.random.default_rng(5)
SIZES = {
    "queries": 6,
    "width": 16,
    "heads": 2,
    "encoder_mlp_width": 24,
    "decoder_depth": 2,
    "mlp_width": 24,
    "points": 2,
}


def small(classes=3, **options):
    backbone = models.ResNet(
        (1, 1, 1), "basic", (8, 12, 16), stem_width=8, num_classes=0, norm="frozen", variant="d", rng=1
    )
    return models.RTDETR(backbone, classes, rng=2, **{**SIZES, "levels": 2, **options})


def images(*shape):
    return RNG.standard_normal(shape or (2, 3, 64, 96)).astype(np.float32)


IMAGES = images()


@pytest.mark.parametrize(
    "name, expected",  # transformers' RTDetrForObjectDetection, less the 81 x 256 of its noisy queries
    [
        ("rtdetr_r18vd", 20_174_608 - 20_736),
        ("rtdetr_r34vd", 31_424_388 - 20_736),
        ("rtdetr_r50vd", 42_891_372 - 20_736),
        ("rtdetr_r101vd", 76_556_268 - 20_736),
    ],
)
def test_published_sizes_have_their_exact_number_of_parameters(name, expected):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == expected
    assert f"{expected:,} parameters for 80 classes" in getattr(models, name).__doc__


@pytest.mark.parametrize("height, width", [(64, 96), (33, 61), (90, 31)])
def test_images_of_any_size_give_one_box_for_each_query(height, width):
    y = small().eval()(images(2, 3, height, width))
    assert y.logits.shape == (2, 6, 3) and y.boxes.shape == (2, 6, 4) and y.masks is None
    assert y.logits.dtype == y.boxes.dtype == np.float32 and np.isfinite(y.logits.numpy()).all()
    assert [x.boxes.shape for x in y.auxiliary] == [(2, 6, 4)] * 2
    for one in (y, *y.auxiliary):
        assert 0 <= one.boxes.numpy().min() and one.boxes.numpy().max() <= 1


@pytest.mark.parametrize(
    "options",
    [{"levels": 1}, {"levels": 3}, {"encoder_depth": 0}, {"encoder_width": 8}, {"expansion": 0.5}, {"decoder_depth": 1}],
)  # fmt: skip
def test_other_depths_widths_and_numbers_of_levels(options):
    model = small(**options).eval()
    y = model(IMAGES)
    assert y.boxes.shape == (2, 6, 4) and len(y.auxiliary) == options.get("decoder_depth", 2)
    assert len(model.encoder.lateral) == options.get("levels", 2) - 1


def test_one_class_is_enough():
    assert small(classes=1).eval()(IMAGES).logits.shape == (2, 6, 1)


def test_the_fused_block_is_one_convolution():
    block = RepVGGBlock(5, rng=0)
    for _, norm in (block.conv1, block.conv2):
        for name in ("running_mean", "running_var"):
            setattr(norm, name, 0.5 + RNG.random(5).astype(np.float32))
        norm.weight.data = 0.5 + RNG.random(5).astype(np.float32)
        norm.bias.data = RNG.standard_normal(5).astype(np.float32)
    x = images(2, 5, 7, 6)
    weight, bias = block.eval().fused()
    once = ops.silu(ops.conv2d(x, weight, bias, padding=1))
    np.testing.assert_allclose(once, block(mv.Tensor(x)).numpy(), atol=1e-5)
    # in training the batch's statistics count, and no fixed convolution can be the same
    assert np.abs(block.train()(mv.Tensor(x)).numpy() - once).max() > 1e-2


def test_one_branch_of_a_csp_layer_goes_around_the_blocks():
    layer = CSPRepLayer(4, 6, 0.5, rng=0).eval()
    assert layer.conv1[0].weight.shape[0] == 3 and layer.conv3 and CSPRepLayer(4, 6).conv3 is None
    x = mv.Tensor(images(1, 4, 5, 5))
    before = layer(x).numpy()
    for block in layer.blocks:  # they can give nothing but 0
        for _, norm in (block.conv1, block.conv2):
            norm.weight.data[...] = 0
    np.testing.assert_allclose(layer(x).numpy(), layer.conv3(layer.conv2(x)).numpy(), atol=1e-6)
    assert np.abs(before - layer(x).numpy()).max() > 1e-3


def test_the_hybrid_encoder_carries_what_is_in_one_map_to_every_other():
    encoder = HybridEncoder((4, 4, 4), 8, 2, 1, 16, rng=0).eval()
    maps = [images(1, 4, 2**k, 2**k) for k in (4, 3, 2)]
    before = [y.numpy() for y in encoder(maps)]
    assert [y.shape for y in before] == [(1, 8, 16, 16), (1, 8, 8, 8), (1, 8, 4, 4)]
    for i in range(3):
        changed = [x + (i == j) for j, x in enumerate(maps)]
        after = [y.numpy() for y in encoder(changed)]
        assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(after, before, strict=True))


def test_attention_is_inside_the_coarsest_map_alone():
    model = small()
    with nn.looking(model) as seen:
        model.eval()(IMAGES)
    assert seen["encoder.grid"].tolist() == [4, 6]
    weights = {name for name in seen if name.endswith("self_attn.weights")}
    assert weights == {f"{name}.self_attn.weights" for name in ("encoder.layers.0", "layers.0", "layers.1")}
    assert seen["encoder.layers.0.self_attn.weights"].shape == (2, 2, 24, 24)


def test_a_code_exchanges_the_axes_as_the_published_one_does():
    from minivis.models.rt_detr_encoder import _codes

    code = _codes(3, 3, 8, "float64").reshape(3, 3, 8)
    frequency = 10000.0 ** (-np.arange(2) / 2)
    for row in range(3):
        for column in range(3):
            waves = [f(n * frequency) for n in (row, column) for f in (np.sin, np.cos)]
            np.testing.assert_allclose(code[row, column], np.concatenate(waves), atol=1e-12)


def test_the_most_likely_pixels_become_the_queries():
    model = small(decoder_depth=1).eval()
    with nn.looking(model) as seen:
        y = model(IMAGES)
    maps = model.encoder(model.backbone.features(mv.Tensor(IMAGES))[-2:])
    pixels = [
        project(x).numpy().reshape(2, 16, -1).swapaxes(1, 2) for project, x in zip(model.decoder_proj, maps, strict=True)
    ]  # fmt: skip
    memory = np.concatenate(pixels, axis=1)
    anchors, valid = rt_detr_anchors([x.shape[2:] for x in maps])
    memory[:, ~valid] = 0
    states = model.pixel_norm(model.pixel_proj(mv.Tensor(memory)))
    scores = model.pixel_class_head(states).numpy()
    for b in range(2):
        order = sorted(range(scores.shape[1]), key=lambda n: -scores[b, n].max())[:6]
        assert seen["chosen"][b].tolist() == order
        np.testing.assert_allclose(y.auxiliary[0].logits.numpy()[b], scores[b, order], atol=1e-5)
        # box heads begin with the correction 0: the first boxes are the anchors themselves, and so are the last
        for one in (y.auxiliary[0], y):
            np.testing.assert_allclose(one.boxes.numpy()[b], anchors[order], atol=1e-5)
    assert seen["starts"].tolist() == [0, 8 * 12]


def test_points_lie_around_the_boxes():
    model = small().eval()
    with nn.looking(model) as seen:
        y = model(IMAGES)
    boxes = y.auxiliary[0].boxes.numpy()
    points = seen["layers.0.cross_attn.locations"]
    assert points.shape == (2, 6, 2, 2, 2, 2)
    np.testing.assert_allclose(seen["layers.0.cross_attn.weights"].sum(axis=(3, 4)), 1, atol=1e-5)
    # at first head 0 looks to the right: its last point at the edge of the box, the first half as far
    centre = boxes[..., None, :2]
    size = boxes[..., None, 2:]
    for p, share in ((0, 0.25), (1, 0.5)):
        expected = np.broadcast_to(centre + size * [share, 0], (2, 6, 2, 2))
        np.testing.assert_allclose(points[:, :, 0, :, p], expected, atol=1e-5)


def test_every_layer_learns_its_own_correction():
    model = small()
    y = model(IMAGES)
    y.boxes.sum().backward()
    assert model.box_heads[1][4].bias.grad.any() and model.layers[0].mlp.fc1.weight.grad is not None
    # not those of the layer before, nor the first boxes, whose own losses teach them
    assert all(p.grad is None for p in model.box_heads[0].parameters())
    assert all(p.grad is None for p in model.pixel_box_head.parameters())
    assert all(p.grad is None for p in model.pixel_class_head.parameters())


def test_the_inverse_of_the_sigmoid():
    x = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(inverse_sigmoid(1 / (1 + np.exp(-x))), x, atol=1e-12)
    ends = inverse_sigmoid(np.array([0.0, 1.0], np.float32))
    np.testing.assert_allclose(ends, [np.log(1e-5), -np.log(1e-5)], rtol=1e-5)
    assert ends.dtype == np.float32


def test_detections_are_boxes_in_pixels():
    model = small().eval()
    y = model(IMAGES)
    found = model.detect(IMAGES, threshold=0.002)
    assert len(found) == 2
    for logits, boxes, one in zip(y.logits.numpy(), y.boxes.numpy(), found, strict=True):
        best = sorted(
            ((1 / (1 + np.exp(-logits[q, k])), q, k) for q in range(6) for k in range(3)), reverse=True
        )[:6]
        best = [row for row in best if row[0] > 0.002]
        assert one["labels"].tolist() == [k for _, _, k in best]
        np.testing.assert_allclose(one["scores"], [s for s, _, _ in best], rtol=1e-5)
        for box, (_, q, _) in zip(one["boxes"], best, strict=True):
            x, y0, w, h = boxes[q] * [96, 64, 96, 64]
            np.testing.assert_allclose(box, [x - w / 2, y0 - h / 2, x + w / 2, y0 + h / 2], rtol=1e-4)
    assert all(len(one["scores"]) == 0 for one in model.detect(IMAGES, threshold=1.0))


def test_images_of_a_batch_do_not_meet():
    model = small().eval()
    together = model(IMAGES)
    for b in range(2):
        alone = model(IMAGES[b : b + 1])
        np.testing.assert_allclose(together.logits.numpy()[b], alone.logits.numpy()[0], atol=1e-5)
        np.testing.assert_allclose(together.boxes.numpy()[b], alone.boxes.numpy()[0], atol=1e-5)


def test_it_learns_the_boxes_it_sees():
    model = small(queries=8)
    x = np.zeros((2, 3, 64, 64), np.float32)
    x[0, 0, 8:40, 8:40] = 1
    x[1, 1, 24:56, 16:56] = 1
    targets = [
        {"labels": np.array([0]), "boxes": np.array([[24, 24, 32, 32]]) / 64},
        {"labels": np.array([1]), "boxes": np.array([[36, 40, 40, 32]]) / 64},
    ]
    criterion = losses.RTDETRCriterion(3)
    optimiser = optim.AdamW(model.parameters(), lr=1e-2)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    totals = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = criterion(model(x), targets)["loss"]
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimiser.step()
        totals.append(float(loss))
    assert totals[-1] < 0.35 * totals[0]
    frozen = {name for name, _ in model.named_buffers() if name.startswith("backbone.")}
    for name, value in model.state_dict().items():
        if name not in frozen and not name.endswith("key.bias"):  # it shifts all scores of a query equally
            assert not np.array_equal(value, before[name]), name


def test_it_is_saved_with_its_backbone(tmp_path):
    model = small().eval()
    mv.save(model, tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors").eval()
    np.testing.assert_array_equal(again(IMAGES).boxes.numpy(), model(IMAGES).boxes.numpy())
    np.testing.assert_array_equal(again(IMAGES).logits.numpy(), model(IMAGES).logits.numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small(levels=4), "RTDETR: levels=4, but the backbone has 3 maps"),
        (lambda: small(queries=0), "RTDETR: queries must be a whole number of at least 1, got 0"),
        (lambda: small(classes=0), "RTDETR: num_classes must be"),
        (lambda: small(heads=3), "RTDETR: 3 heads do not divide the width 16"),
        (lambda: small(encoder_heads=0), "HybridEncoder: heads must be a whole number of at least 1, got 0"),
        (lambda: small(encoder_width=0), "HybridEncoder: width must be"),
        (lambda: small(encoder_depth=-1), "HybridEncoder: depth must be"),
        (lambda: small(encoder_width=18), "HybridEncoder: width must be divisible by 4"),
        (lambda: small(expansion=0.01), "CSPRepLayer: inner must be"),
        (lambda: small()(images(3, 32, 32)), r"RTDETR: images must be \(B, C, H, W\)"),
        (
            lambda: small(queries=30)(images(1, 3, 32, 32)),
            "RTDETR: 30 queries are to be chosen among the 20 pixels of all maps: take larger images",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_batch_gives_empty_answers():
    y = small().eval()(np.zeros((0, 3, 64, 64), np.float32))
    assert y.logits.shape == (0, 6, 3) and y.boxes.shape == (0, 6, 4)


def test_the_same_answers_and_gradients_on_a_device(device):
    found = []
    for where in ("cpu", device):
        model = small().to(where)
        y = model(mv.to_device(IMAGES, where))
        ((y.logits * y.logits).sum() + sum(x.boxes.sum() for x in (y, *y.auxiliary))).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters() if p.grad is not None]
        found.append([y.logits.numpy(), y.boxes.numpy(), *grads])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max()))
