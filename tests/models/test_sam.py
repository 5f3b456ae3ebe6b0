"""SAM: the published sizes, what prompts may and may not change, several images and prompts at once, and its encoders.

Not here: equality with the published code (tests/parity), the laws of the position code (tests/laws), the training.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops
from minivis.models.sam_encoder import RelativeAttention, WindowBlock
from tests import strict

RNG = np.random.default_rng(3)


def small(**options):
    backbone = models.ResNet(
        (1, 1), "basic", widths=(8, 12), stem_width=8, num_classes=0, norm="group", patch_stem=True, rng=0
    )
    encoder = models.MapEncoder(backbone, 16, heads=2, rng=1)
    prompts = models.PromptEncoder(16, 64, 16, 8, rng=2, **options)
    return models.SAM(encoder, prompts, models.MaskDecoder(16, heads=2, mlp_width=24, rng=3))


MODEL = small(text_width=5).to("float64")
IMAGES = RNG.random((2, 3, 64, 64))
EMBEDDING = MODEL.embed(IMAGES).numpy()
POINTS = RNG.uniform(0, 64, (2, 3, 2, 2))
LABELS = np.array([[[1, 0], [0, 1], [1, -1]], [[1, 1], [0, 0], [1, -1]]])
BOXES = np.sort(RNG.uniform(0, 64, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4)
MASKS = RNG.standard_normal((2, 3, 1, 64, 64))
TEXTS = RNG.standard_normal((2, 3, 5))
EVERYTHING = {"points": POINTS, "point_labels": LABELS, "boxes": BOXES, "masks": MASKS, "texts": TEXTS}


def answer(**prompts):
    return MODEL.answer(EMBEDDING, **prompts)


def same(a, b):
    np.testing.assert_allclose(a.masks.numpy(), b.masks.numpy(), atol=1e-10)
    np.testing.assert_allclose(a.iou.numpy(), b.iou.numpy(), atol=1e-10)


def far(a, b):
    return np.abs(a.masks.numpy() - b.masks.numpy()).max()


@pytest.mark.parametrize(
    ("name", "encoder", "whole"),
    [
        ("sam_vit_b", 89_670_912, 93_735_472),
        ("sam_vit_l", 308_278_272, 312_342_832),
        ("sam_vit_h", 637_026_048, 641_090_608),
    ],
)
def test_published_sizes_have_their_exact_number_of_parameters(name, encoder, whole):
    with nn.init.skip_init():
        model = getattr(models, name)()
    parts = (model.image_encoder, model.prompt_encoder, model.mask_decoder, model)
    assert [sum(p.size for p in part.parameters()) for part in parts] == [encoder, 6220, 4_058_340, whole]


def test_the_answer_has_three_masks_or_one():
    y = answer(**EVERYTHING)
    assert y.masks.shape == (2, 3, 3, 64, 64) and y.iou.shape == (2, 3, 3)
    one = answer(**EVERYTHING, multimask=False)
    assert one.masks.shape == (2, 3, 1, 64, 64) and one.iou.shape == (2, 3, 1)
    assert far(one, y) > 1e-3  # a mask of its own, not the first of three
    same(MODEL(IMAGES, **EVERYTHING), y)


def test_the_order_of_the_points_does_not_matter():
    turned = {"points": POINTS[:, :, ::-1], "point_labels": LABELS[:, :, ::-1]}
    same(answer(points=POINTS, point_labels=LABELS), answer(**turned))


def test_a_point_that_is_none_has_no_influence_where_it_lies():
    moved = POINTS.copy()
    moved[:, 2, 1] += 20  # its label is -1
    kept = answer(points=POINTS, point_labels=LABELS)
    same(kept, answer(points=moved, point_labels=LABELS))
    moved[:, 1, 1] += 20
    assert far(kept, answer(points=moved, point_labels=LABELS)) > 1e-3


def test_points_without_a_box_get_a_filler_and_with_one_they_do_not():
    encoder = MODEL.prompt_encoder
    tokens, _ = encoder(points=POINTS, point_labels=LABELS)
    filler = np.broadcast_to(encoder.not_a_point.numpy(), (2, 3, 16))
    np.testing.assert_array_equal(tokens.numpy()[:, :, 2], filler)
    np.testing.assert_array_equal(tokens.numpy()[:, 2, 1], filler[:, 2])
    assert encoder(points=POINTS, point_labels=LABELS, boxes=BOXES)[0].shape == (2, 3, 4, 16)


def test_the_corners_of_a_box_are_not_alike():
    corners = MODEL.prompt_encoder(boxes=BOXES)[0].numpy()
    clicks = np.ones((2, 3, 2), int)
    on_them = MODEL.prompt_encoder(points=BOXES.reshape(2, 3, 2, 2), point_labels=clicks)[0].numpy()[:, :, :2]
    types = [p.numpy() for p in MODEL.prompt_encoder.point_types]
    kinds = np.concatenate([types[2] - types[1], types[3] - types[1]])
    np.testing.assert_allclose(corners - on_them, np.broadcast_to(kinds, corners.shape), atol=1e-12)


@pytest.mark.parametrize("name", ["points", "boxes", "masks", "texts"])
def test_every_part_of_a_prompt_counts(name):
    changed = {**EVERYTHING, name: EVERYTHING[name] + 1.5}
    assert far(answer(**EVERYTHING), answer(**changed)) > 1e-4


def test_prompts_and_images_do_not_influence_each_other():
    together = answer(**EVERYTHING)
    for image in range(2):
        for prompt in range(3):
            at = np.s_[image : image + 1, prompt : prompt + 1]
            alone = MODEL.answer(EMBEDDING[image : image + 1], **{n: x[at] for n, x in EVERYTHING.items()})
            np.testing.assert_allclose(alone.masks.numpy(), together.masks.numpy()[at], atol=1e-10)
            np.testing.assert_allclose(alone.iou.numpy(), together.iou.numpy()[at], atol=1e-10)


def test_masks_are_linear_in_the_vectors_of_the_hypernetworks():
    twice = small(text_width=5).to("float64")
    for mlp in twice.mask_decoder.mask_mlps:
        mlp.layers[-1].weight.data *= 2
        mlp.layers[-1].bias.data *= 2
    found = twice.answer(EMBEDDING, **EVERYTHING)
    np.testing.assert_allclose(found.masks.numpy(), 2 * answer(**EVERYTHING).masks.numpy(), atol=1e-10)
    np.testing.assert_allclose(found.iou.numpy(), answer(**EVERYTHING).iou.numpy(), atol=1e-10)


def test_a_cell_has_the_code_of_the_point_at_its_centre():
    codes = MODEL.prompt_encoder.grid_code((16, 16)).numpy().reshape(16, 16, 16)
    centre = np.array([4 * 5 + 1.5, 4 * 2 + 1.5])  # column 5, row 2; a cell has 4 pixels
    there = mv.vision.point_position_code(centre, (64, 64), MODEL.prompt_encoder.gaussian)
    np.testing.assert_allclose(codes[2, 5], there, atol=1e-12)


def test_another_size_of_the_image_follows_from_the_embedding():
    image = RNG.random((1, 3, 32, 96))
    prompt = {"points": POINTS[:1], "point_labels": LABELS[:1]}
    y = MODEL(image, **prompt)
    assert y.masks.shape == (1, 3, 3, 32, 96)
    same(y, MODEL.answer(MODEL.embed(image), **prompt))
    assert far(y, MODEL.answer(MODEL.embed(image), **prompt, size=(64, 192))) > 1e-3


def test_without_any_prompt_there_is_one_answer():
    y = answer()
    assert y.masks.shape == (2, 1, 3, 64, 64) and np.isfinite(y.masks.numpy()).all()


def test_lists_and_whole_numbers_are_prompts_too():
    y = MODEL.answer(EMBEDDING[:1], points=[[[[3, 4]]]], point_labels=[[[1]]])
    same(y, MODEL.answer(EMBEDDING[:1], points=np.array([[[[3.0, 4.0]]]]), point_labels=np.array([[[1]]])))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"points": POINTS}, "points and point_labels go together"),
        ({"points": POINTS, "point_labels": LABELS[:, :, :1]}, r"point_labels: \(2, 3, 1\)"),
        ({"points": POINTS, "point_labels": LABELS + 1}, r"point_labels must be 1 \(on the thing\), 0"),
        ({"boxes": BOXES[..., :3]}, r"boxes \(B, P, 4\) with the same B and P \(boxes: \(2, 3, 3\)\)"),
        ({"boxes": BOXES[:, :2], "texts": TEXTS}, r"boxes: \(2, 2, 4\), texts: \(2, 3, 5\)"),
        ({"boxes": BOXES[:1]}, "prompts for 1 images, but 2 embeddings"),
        ({"masks": MASKS[:1]}, "prompts for 1 images, but 2 embeddings"),
        ({"boxes": BOXES[..., [2, 3, 0, 1]]}, "boxes must be x0, y0, x1, y1, first the upper left corner"),
        ({"boxes": BOXES[..., [0, 3, 2, 1]]}, "boxes must be x0, y0, x1, y1, first the upper left corner"),
        ({"boxes": BOXES, "size": (64, 0.5)}, "size must be an integer of at least 1, or two of them"),
        ({"masks": MASKS[..., :32, :32]}, r"masks must be \(B, P, 1, 64, 64\), four times the embedding"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompts, message):
    with pytest.raises(ValueError, match="^SAM: .*" + message):
        answer(**prompts)


def test_lists_are_masks_and_a_number_is_the_size_of_a_square():
    masks = np.where(MASKS > 0, 10.0, -10.0)
    same(answer(masks=masks.tolist(), size=64), answer(masks=masks, size=(64, 64)))


@pytest.mark.parametrize("masks", [MASKS > 0, (MASKS > 0).astype(int)])
def test_a_mask_that_is_not_of_logits_is_no_prompt(masks):
    with pytest.raises(
        TypeError, match="^SAM: masks must be logits, positive on the thing and negative beside it"
    ):
        answer(masks=masks)


def test_other_mistakes_are_named():
    with pytest.raises(
        ValueError, match="^SAM: prompt encoder and mask decoder need the same width, got 8 and 16"
    ):
        models.SAM(MODEL.image_encoder, models.PromptEncoder(8, 64, 16), MODEL.mask_decoder)
    with pytest.raises(ValueError, match="^MapEncoder: depth must be a whole number of at least 0, got -1"):
        models.MapEncoder(MODEL.image_encoder.backbone, 16, depth=-1, heads=2)
    with pytest.raises(ValueError, match=r"^SAM: embedding must be \(B, D=16, h, w\)"):
        MODEL.answer(EMBEDDING[:, :8])
    with pytest.raises(ValueError, match="^SAM: this model takes no texts"):
        small()(IMAGES.astype(np.float32), texts=TEXTS)
    with pytest.raises(ValueError, match="^PromptEncoder: width must be even"):
        models.PromptEncoder(7, 64, 16)
    with pytest.raises(
        ValueError, match="^MaskDecoder: width must be divisible by 8, and half of it by heads"
    ):
        models.MaskDecoder(16, heads=3)
    with pytest.raises(ValueError, match="^MapEncoder: the backbone needs at least two maps"):
        models.MapEncoder(models.ResNet((1,), "basic", widths=(8,), stem_width=8, num_classes=0), 16)
    with pytest.raises(ValueError, match=r"^SAMImageEncoder: patches of 7 must fill the image \(40, 40\)"):
        models.SAMImageEncoder(40, 7)
    with pytest.raises(
        ValueError,
        match="^SAMImageEncoder: window must be a whole number of at least 0 and whole name blocks 0 to 1",
    ):
        models.SAMImageEncoder(40, 8, 16, 2, 2, whole=(2,))
    with pytest.raises(ValueError, match=r"^SAMImageEncoder: images must have 40 x 40 pixels"):
        models.SAMImageEncoder(40, 8, 16, 1, 2, whole=())(np.zeros((1, 3, 40, 48), np.float32))


def test_looking_shows_both_directions_of_attention():
    with nn.looking(MODEL) as seen:
        answer(points=POINTS, point_labels=LABELS)
    shapes = {name: x.shape for name, x in seen.items()}
    assert shapes["mask_decoder.layers.1.tokens_to_image.weights"] == (2, 3, 2, 8, 256)
    assert shapes["mask_decoder.layers.1.image_to_tokens.weights"] == (2, 3, 2, 256, 8)
    assert shapes["mask_decoder.final_attn.weights"] == (2, 3, 2, 8, 256)


def test_relative_positions_are_added_to_the_scores_with_queries_that_are_not_divided():
    attention = RelativeAttention(8, 2, (2, 3), True, np.random.default_rng(0)).to("float64")
    for table in (attention.relative_rows, attention.relative_columns):
        table.data[...] = RNG.standard_normal(table.shape)
    x = RNG.standard_normal((1, 2, 3, 8))
    q, k = (layer(x).numpy().reshape(6, 2, 4) for layer in (attention.query, attention.key))
    scores = np.empty((2, 6, 6))
    for head, i, j in np.ndindex(scores.shape):
        down, right = (int(a) for a in np.subtract(divmod(i, 3), divmod(j, 3)))
        bias = attention.relative_rows.numpy()[down + 1] + attention.relative_columns.numpy()[right + 2]
        scores[head, i, j] = q[i, head] @ k[j, head] / 2 + q[i, head] @ bias
    with nn.looking(attention) as seen:
        attention(x)
    np.testing.assert_allclose(seen["weights"][0], ops.softmax(scores), atol=1e-12)


def test_a_block_in_windows_joins_no_windows_and_attends_to_the_padding():
    block = WindowBlock(8, 2, 2.0, 3, (5, 5), True, 1e-6, np.random.default_rng(0)).to("float64")
    x = RNG.standard_normal((1, 5, 5, 8))
    y = block(x).numpy()
    changed = x.copy()
    changed[0, 4, 4, 0] += 1  # in the window at the lower right
    moved = np.abs(block(changed).numpy() - y).max(axis=-1)[0] > 1e-9
    assert moved[3:, 3:].all() and moved.sum() == 4
    alone = WindowBlock(8, 2, 2.0, 0, (2, 2), True, 1e-6, np.random.default_rng(0)).to("float64")
    alone.load_state_dict({n: a for n, a in block.state_dict().items() if "relative" not in n}, strict=False)
    assert np.abs(alone(x[:, 3:, 3:]).numpy() - y[:, 3:, 3:]).max() > 1e-3  # without five cells of zeros


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_dtype_of_the_model_stays(dtype):
    model = small(text_width=5).to(dtype)
    y = model(IMAGES.astype(dtype), **EVERYTHING)
    assert y.masks.dtype == y.iou.dtype == dtype
    exact = answer(**EVERYTHING).masks.numpy()
    assert np.abs(y.masks.numpy() - exact).max() < (0.1 if dtype == "float16" else 1e-4) * np.abs(exact).max()


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    model = small(text_width=5).to("strict")
    images = mv.to_device(IMAGES.astype(np.float32), "strict")
    prompts = {name: mv.to_device(x, "strict") for name, x in EVERYTHING.items()}
    y = model(images, **prompts)
    (y.masks.mean() + y.iou.sum()).backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert unused == {"prompt_encoder.no_mask"} | {n for n in unused if "mask_mlps.0." in n}


def test_it_is_saved_and_loaded(tmp_path):
    model = small().eval()
    mv.save(model, tmp_path)
    again = mv.load(tmp_path)
    x = IMAGES.astype(np.float32)
    np.testing.assert_array_equal(again(x, boxes=BOXES).masks.numpy(), model(x, boxes=BOXES).masks.numpy())


def test_it_overfits_two_boxes():
    model = small()
    truth = np.zeros((1, 2, 64, 64), np.float32)
    truth[0, 0, 8:30, 10:40] = truth[0, 1, 40:60, 30:60] = 1
    boxes = np.array([[[10, 8, 39, 29], [30, 40, 59, 59]]])
    optimizer = mv.optim.AdamW(model.parameters(), lr=1e-2)
    image = IMAGES[:1].astype(np.float32)
    losses = []
    for _ in range(20):
        masks = model(image, boxes=boxes, multimask=False).masks
        loss = ops.binary_cross_entropy_with_logits(masks[:, :, 0], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
