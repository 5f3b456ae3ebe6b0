"""CLIP: published sizes, causal texts, prompts of a class, the attention pooling, devices and halves, disk, and that it learns.

Not here: equality with transformers and the authors' code (tests/parity), names in published files (tests/pretrained).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.losses import clip_loss
from minivis.models import CLIP, AttentionPool, CLIPImageEncoder, CLIPResNet, CLIPTextEncoder, ResNet
from minivis.models.clip import FoldedMaps

RNG = np.random.default_rng(5)
IMAGES = RNG.standard_normal((4, 3, 8, 8))
TEXTS = np.array([[1, 7, 2, 0, 0], [1, 5, 9, 6, 2], [1, 2, 0, 0, 0], [1, 8, 4, 2, 0]])


def small(dtype="float64", **options):
    image = CLIPImageEncoder(image_size=8, patch_size=4, width=16, depth=2, heads=2, rng=0)
    text = CLIPTextEncoder(
        vocabulary=10, length=5, width=12, depth=2, heads=3, **{"end_id": 2, **options}, rng=1
    )
    return CLIP(image, text, width=6, image_width=16, rng=2).to(dtype)


def with_resnet():
    image = CLIPResNet((1, 1, 1, 1), width=2, embedding=6, heads=2, image_size=32, rng=0)
    return CLIP(image, CLIPTextEncoder(10, 5, 12, 1, 2, end_id=2, rng=1), width=6, rng=2).to("float64")


PUBLISHED = {  # parameters of all, and of the image encoder where that ends in its own projection
    "clip_b32": 151_277_313,
    "clip_b16": 149_620_737,
    "clip_l14": 427_616_513,
    "clip_rn50": 102_007_137,
    "clip_rn101": 119_688_033,
    "clip_rn50x4": 178_300_601,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == PUBLISHED[name]
    if name == "clip_rn50":
        assert sum(p.size for p in model.image_encoder.parameters()) == 38_316_896


def test_the_answer_is_cosines_times_the_factor():
    model = small()
    out = model(IMAGES, TEXTS[:3])
    u, v = out.image_embeddings.numpy(), out.text_embeddings.numpy()
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1)
    np.testing.assert_allclose(out.logits_per_image.numpy(), u @ v.T / 0.07)
    np.testing.assert_array_equal(out.logits_per_text.numpy(), out.logits_per_image.numpy().T)
    np.testing.assert_allclose(model.encode_image(IMAGES[2:]).numpy(), u[2:], atol=1e-12)


def test_what_stands_behind_the_end_changes_nothing():
    encoder = small().text_encoder
    changed = np.where(np.cumsum(np.cumsum(TEXTS == 2, axis=1), axis=1) > 1, 9, TEXTS)
    assert (changed != TEXTS).sum() == 6
    np.testing.assert_allclose(encoder(changed).numpy(), encoder(TEXTS).numpy(), atol=1e-12)
    np.testing.assert_allclose(encoder(TEXTS[:1, :3]).numpy(), encoder(TEXTS[:1]).numpy(), atol=1e-12)
    with nn.looking(encoder) as seen:
        encoder(TEXTS)
    assert seen["ends"].tolist() == [2, 4, 1, 3]


def test_without_an_end_symbol_the_largest_number_ends_a_text():
    ours = small().text_encoder
    largest = small(end_id=None).text_encoder
    for of in (ours, largest):
        of.token_embed.weight.data[9] = of.token_embed.weight.data[2]
    as_nine = np.where(TEXTS == 2, 9, np.where(TEXTS == 9, 3, TEXTS))
    back = np.where(as_nine == 9, 2, as_nine)
    np.testing.assert_array_equal(largest(as_nine).numpy(), ours(back).numpy())


def test_prompts_of_a_class_are_averaged_as_directions():
    model = small()
    u, v, w = (model.encode_text(TEXTS[i : i + 1]).numpy()[0] for i in range(3))
    found = model.class_embeddings([TEXTS[:2], TEXTS[2:3]]).numpy()
    np.testing.assert_allclose(found[0], (u + v) / np.linalg.norm(u + v))
    np.testing.assert_allclose(found[1], w)


@pytest.mark.parametrize("make", [small, with_resnet])
def test_an_empty_batch_has_no_embeddings(make):
    model = make().eval()
    images, texts = model.example()
    assert model.encode_image(images[:0]).shape[0] == model.encode_text(texts[:0]).shape[0] == 0


def test_the_example_has_the_channels_of_the_images_and_lists_are_taken():
    text = CLIPTextEncoder(10, 5, 8, 1, 2, end_id=2)
    model = CLIP(CLIPImageEncoder(8, 4, 8, 1, 2, channels=1), text, 6, image_width=8)
    images, tokens = model.example()
    assert images.shape == (1, 1, 8, 8) and model(images, tokens.tolist()).logits_per_image.shape == (1, 1)


def test_the_factor_is_limited():
    model = small()
    assert float(model.logit_scale.data) == pytest.approx(math.log(1 / 0.07))
    model.limit_scale()
    assert float(model.logit_scale.data) == pytest.approx(math.log(1 / 0.07))
    model.logit_scale.data[...] = 9
    model.limit_scale()
    assert float(model.logit_scale.data) == pytest.approx(math.log(100))


def test_attention_pooling_looks_at_all_cells_and_their_mean():
    pool = AttentionPool((2, 3), channels=8, heads=2, width=5, rng=0)
    with nn.looking(pool) as seen:
        pool(RNG.standard_normal((2, 8, 2, 3)).astype(np.float32))
    assert seen["weights"].shape == (2, 2, 1, 7)
    np.testing.assert_allclose(seen["weights"].sum(axis=-1), 1, rtol=1e-5)


def test_a_map_is_a_quarter_after_the_stem_and_halves_at_each_later_stage():
    encoder = CLIPResNet((2, 1, 1, 1), width=4, embedding=6, heads=2, image_size=(32, 64))
    maps = encoder.features(np.zeros((1, 3, 32, 64), np.float32))
    assert [x.shape for x in maps] == [(1, 16, 8, 16), (1, 32, 4, 8), (1, 64, 2, 4), (1, 128, 1, 2)]
    assert encoder(np.zeros((1, 3, 32, 64), np.float32)).shape == (1, 6)


@pytest.mark.parametrize("make", [small, with_resnet])
def test_the_same_loss_and_gradients_on_a_device_and_in_half(make, device):
    images = IMAGES if make is small else RNG.standard_normal((4, 3, 32, 32))
    found = []
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = make().to(dtype).to(where).eval()
        out = model(mv.to_device(images.astype(dtype), where), mv.to_device(TEXTS, where))
        assert out.logits_per_image.dtype == dtype
        clip_loss(out.image_embeddings, out.text_embeddings, model.logit_scale).backward()
        found.append([out.logits_per_image.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for got, tolerance in zip(found[1:], (1e-4, 5e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0][1:])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


@pytest.mark.parametrize("make", [small, with_resnet])
def test_a_round_trip_to_disk(make, tmp_path):
    model = make().to("float32").eval()
    mv.save(model, tmp_path)
    images = np.zeros((1, 3, 8, 8) if make is small else (1, 3, 32, 32), np.float32)
    twin = mv.load(tmp_path)
    np.testing.assert_array_equal(
        twin(images, TEXTS).logits_per_image.numpy(), model(images, TEXTS).logits_per_image.numpy()
    )


def test_it_learns_which_text_belongs_to_which_picture():
    model = small("float32")
    images = IMAGES.astype(np.float32)
    optimizer = optim.AdamW(model, lr=5e-3, weight_decay=0.0)
    for _ in range(25):
        optimizer.zero_grad()
        out = model(images, TEXTS)
        loss = clip_loss(out.image_embeddings, out.text_embeddings, model.logit_scale)
        loss.backward()
        optimizer.step()
        model.limit_scale()
    assert float(loss) < 0.6 < math.log(4)
    assert (model(images, TEXTS).logits_per_image.numpy().argmax(axis=1) == np.arange(4)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CLIPImageEncoder(image_size=10, patch_size=4), r"^CLIPImageEncoder: patches of \(4, 4\) pixels do not fill"),
        (lambda: small().encode_image(np.zeros((1, 3, 8, 12))), r"position table is for images of \(8, 8\).*\(1, 3, 8, 12\)"),
        (lambda: small().encode_image(np.zeros((3, 8, 8))), r"images must be \(B, C, H, W\)"),
        (lambda: small().encode_text(np.zeros((2, 6), int)), r"^CLIPTextEncoder: tokens must be \(B, L\) with L of 1 to 5.*\(2, 6\)"),
        (lambda: small().encode_text(TEXTS[0]), r"tokens must be \(B, L\)"),
        (lambda: small().encode_text(np.ones((2, 5), int)), "text 0 has no end symbol 2"),
        (lambda: CLIPTextEncoder(10, end_id=10), "end_id must be a symbol, 0 to 9, got 10"),
        (lambda: CLIPTextEncoder(10, end_id=1.5), "end_id must be a symbol, 0 to 9, got 1.5"),
        (lambda: CLIP(small().image_encoder, small().text_encoder, image_width=0), "CLIP: image_width must be a whole number of at least 1, got 0"),
        (lambda: FoldedMaps(ResNet((1,), "basic", widths=(4,), stem_width=4, num_classes=0)), "^FoldedMaps: backbone must have two maps or more, got one"),
        (lambda: FoldedMaps(ResNet((1, 1), "basic", widths=(4, 8), stem_width=4, num_classes=0)).features(np.zeros((1, 3, 36, 36), np.float32)), "^FoldedMaps: of the last two maps.* 9 x 9 and 5 x 5"),
        (lambda: CLIPTextEncoder(10, width=0), "CLIPTextEncoder: width must be a whole number"),
        (lambda: CLIP(small().image_encoder, small().text_encoder, width=0), "CLIP: width must be a whole number"),
        (lambda: CLIPResNet(image_size=60), "CLIPResNet: needs four depths"),
        (lambda: AttentionPool(2, 6, 4, 5), "AttentionPool: 4 heads do not divide 6 channels"),
        (lambda: AttentionPool(2, 6, 2, 5)(np.zeros((1, 6, 3, 2), np.float32)), r"x must be \(B, 6, 2, 2\)"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
