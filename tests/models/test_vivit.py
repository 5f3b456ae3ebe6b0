"""ViViT: published sizes, the four ways to split attention, what they see, and how a film starts from an image model.

Not here: equality with transformers (tests/parity), attention and tubelets by themselves (tests/vision, tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.analysis import space_time_attention
from minivis.models import DINOv2, ViT, ViViT
from minivis.models.vivit import DOT_PRODUCT, ENCODER, JOINT, SELF_ATTENTION, VARIANTS
from minivis.train import train_step

RNG = np.random.default_rng(5)
PUBLISHED = {
    "vivit_b16x2": 88_954_000,
    "vivit_b16x2_factorised_encoder": 115_062_928,
    "vivit_b16x2_factorised_attention": 117_319_312,
    "vivit_b16x2_factorised_heads": 88_952_464,
}
SIZES = {
    "frames": 4,
    "image_size": 8,
    "tubelet": (2, 4, 4),
    "width": 8,
    "depth": 2,
    "temporal_depth": 1,
    "heads": 2,
}
FILM = RNG.standard_normal((2, 4, 3, 8, 8)).astype(np.float32)


def small(variant=JOINT, random=True, **options):
    """A small model; with ``random``, none of its weights is 0 or 1."""
    model = ViViT(variant, **{**SIZES, "num_classes": 5, **options}, rng=0)
    for p in model.parameters() if random else ():
        p.data += 0.1 * RNG.standard_normal(p.shape).astype(p.dtype)
    return model


def image_model(variant=JOINT, **options):
    pool = "token" if variant in (JOINT, ENCODER) else "mean"
    sizes = {"width": 8, "depth": 2, "heads": 2, "num_classes": 0, "activation": "gelu_tanh", "pool": pool}
    model = ViT(8, 4, **{**sizes, **options}, rng=1)
    for p in model.parameters():
        p.data += 0.1 * RNG.standard_normal(p.shape).astype(p.dtype)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == PUBLISHED[name]
    assert model.grid == (16, 14, 14)
    tokens = {"vivit_b16x2": 3137, "vivit_b16x2_factorised_encoder": 197}.get(name, 3136)
    assert model.pos_embed.shape == (1, tokens, 768)


def test_the_pairs_that_attention_compares():
    T, N = 16, 196
    assert (T * N) ** 2 == 9_834_496 and T * N**2 + N * T**2 == 664_832
    assert round(9_834_496 / 664_832, 1) == 14.8


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_variant_keeps_the_dtype_and_reaches_every_weight(variant, dtype):
    model = small(variant).to(dtype)
    y = model(FILM.astype(dtype))
    assert y.shape == (2, 5) and y.dtype == dtype
    ops.cross_entropy(y, np.array([1, 3])).backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tensor_gives_what_its_array_gives(variant):
    model = small(variant)
    np.testing.assert_array_equal(model(FILM).numpy(), model(mv.Tensor(FILM)).numpy())


@pytest.mark.parametrize("variant", [SELF_ATTENTION, DOT_PRODUCT])
def test_the_published_order_is_another_model(variant):
    model = small(variant)
    other = small(variant, order="time_space")
    other.load_state_dict(model.state_dict())
    assert np.abs(model(FILM).numpy() - other(FILM).numpy()).max() > 1e-4


def test_joint_attention_without_positions_does_not_care_where_tokens_are():
    model = small(JOINT)
    model.pos_embed.data[...] = 0
    # whole tubelets, exchanged in space and time
    moved = FILM.reshape(2, 2, 2, 3, 2, 4, 2, 4)[:, ::-1][:, :, :, :, ::-1].reshape(FILM.shape)
    np.testing.assert_allclose(model(FILM).numpy(), model(moved).numpy(), atol=1e-5)
    assert np.abs(small(JOINT)(FILM).numpy() - small(JOINT)(moved).numpy()).max() > 1e-3


def test_a_factorised_encoder_without_times_does_not_care_about_their_order():
    model = small(ENCODER)
    moved = FILM.reshape(2, 2, 2, 3, 8, 8)[:, ::-1].reshape(FILM.shape)
    before = np.abs(model(FILM).numpy() - model(moved).numpy()).max()
    model.temporal.pos_embed.data[:, 1:] = 0
    np.testing.assert_allclose(model(FILM).numpy(), model(moved).numpy(), atol=1e-5)
    assert before > 1e-4


def test_with_a_temporal_projection_of_zero_frames_do_not_meet():
    model = small(SELF_ATTENTION)
    for block in model.blocks:
        block.time_attn.out.weight.data[...] = 0
        block.time_attn.out.bias.data[...] = 0
    other = FILM.copy()
    other[:, 2:] += 1  # the second step in time
    first, second = (model.features(x).numpy().reshape(2, 2, 4, 8) for x in (FILM, other))
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert np.abs(first[:, 1] - second[:, 1]).max() > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_token_sees_what_its_variant_lets_it_see(variant):
    model = small(variant)
    with mv.no_grad(), nn.looking(model) as seen:
        model(FILM)
    found = space_time_attention(seen, 0)
    assert seen["grid"].tolist() == [2, 2, 2]
    for step, weights in found.items():
        assert weights.shape == (2, 2, 4, 2, 4) and (weights >= 0).all()
        if step == "space":
            assert (weights[:, 0, :, 1] == 0).all() and (weights[:, 0, :, 0] > 0).all()
        if step == "time" and variant != ENCODER:
            places = weights[:, 0, :, 1]  # (B, N, N)
            assert (places > 0).sum() == 2 * 4 and (places[:, range(4), range(4)] > 0).all()
    assert list(found) == (["joint"] if variant == JOINT else ["space", "time"])
    if variant in (SELF_ATTENTION, DOT_PRODUCT):
        np.testing.assert_allclose([w.sum(axis=(3, 4)) for w in found.values()], 1, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Starting from an image model


@pytest.mark.parametrize("kernel", ["central frame", "inflated"])
@pytest.mark.parametrize("variant", [JOINT, SELF_ATTENTION])
def test_one_step_in_time_gives_what_the_image_model_gives(variant, kernel):
    vit = image_model(variant)
    model = small(variant, frames=2, num_classes=0).start_from(vit, kernel)
    still = FILM[:, :1].repeat(2, axis=1)
    np.testing.assert_allclose(model(still).numpy(), vit(still[:, 0]).numpy(), atol=1e-5)


def test_a_still_film_gives_what_the_image_model_gives_where_frames_do_not_meet():
    vit = image_model(SELF_ATTENTION)
    model = small(SELF_ATTENTION, num_classes=0).start_from(vit)
    still = FILM[:, :1].repeat(4, axis=1)
    np.testing.assert_allclose(model(still).numpy(), vit(still[:, 0]).numpy(), atol=1e-5)
    copied = small(SELF_ATTENTION, num_classes=0).start_from(vit, temporal="copy")
    assert np.abs(copied(still).numpy() - vit(still[:, 0]).numpy()).max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_positions_are_repeated_and_the_kernel_has_its_frames(variant):
    vit = image_model()
    model = small(variant).start_from(vit)
    patches = model.pos_embed.data[0, -4:]
    np.testing.assert_array_equal(patches, vit.pos_embed.data[0, 1:])
    if variant != ENCODER:
        np.testing.assert_array_equal(model.pos_embed.data[0, -8:-4], patches)
    weight = vit.patch_embed.proj.weight.data
    np.testing.assert_array_equal(model.embed.weight.data[:, :, 1], weight)
    assert (model.embed.weight.data[:, :, 0] == 0).all()
    inflated = small(variant).start_from(vit, "inflated").embed.weight.data
    np.testing.assert_allclose(inflated, np.stack([weight, weight], axis=2) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"kernel": "middle"}, 'kernel must be "central frame" or "inflated"'),
        ({"temporal": "ones"}, "'ones'"),
        ({"vit": {"width": 16}}, "of the image model has another size"),
        ({"vit": {"depth": 1}}, "the image model has nothing for blocks.1"),
        ({"vit": {"heads": 1}}, "the image model has 1 heads, this one 2"),
    ],
)
def test_an_image_model_that_does_not_fit_is_refused(options, said):
    vit = image_model(**options.pop("vit", {}))
    with pytest.raises(ValueError, match=f"^ViViT: .*{said}"):
        small().start_from(vit, **options)


def test_a_model_of_images_that_is_no_plain_vit_is_refused():
    scaled = DINOv2(image_size=8, patch_size=4, width=8, depth=2, heads=2)
    with pytest.raises(
        ValueError, match="^ViViT: there is no place here for blocks.0.ls1.weight of the image"
    ):
        small().start_from(scaled)
    with pytest.raises(ValueError, match="^ViViT: the image model must be a ViT, got Linear"):
        small().start_from(nn.Linear(2, 3))


# ---------------------------------------------------------------------------------------------------------------------
# Options, refusals, learning


def test_uniform_frames_are_picked_by_the_model():
    model = small(sampled=2, tubelet=(1, 4, 4))
    assert model.grid == (2, 2, 2)
    other = FILM.copy()
    other[:, [0, 2]] = 0  # frames 1 and 3 are the middle ones of two halves
    np.testing.assert_array_equal(model(FILM).numpy(), model(other).numpy())


@pytest.mark.parametrize(
    "options, said",
    [
        ({"variant": "early"}, "variant must be one of joint, factorised encoder, "),
        ({"order": "space"}, 'order must be "space_time" or "time_space"'),
        ({"variant": DOT_PRODUCT, "heads": 1}, "half of the heads attend in space"),
        ({"tubelet": (4, 4)}, r"tubelet must be \(frames, height, width\)"),
        ({"tubelet": 4}, r"tubelet must be \(frames, height, width\), got 4"),
        ({"sampled": 8}, "sampled must be a whole number from 1 to 4 frames, got 8"),
        ({"sampled": 1.5}, "sampled must be a whole number from 1 to 4 frames, got 1.5"),
        ({"tubelet": (3, 4, 4)}, "tubelets of 3 x 4 x 4 do not fill 4 frames of 8 x 8 pixels"),
        ({"depth": 0}, "depth must be a whole number of at least 1"),
    ],
)
def test_sizes_that_are_not_possible_are_refused(options, said):
    with pytest.raises(ValueError, match=f"^ViViT: {said}"):
        small(**options)


@pytest.mark.parametrize("shape", [(2, 4, 3, 8), (2, 3, 3, 8, 8), (2, 4, 1, 8, 8), (2, 4, 3, 8, 12)])
def test_films_of_another_size_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"^ViViT: films must be \(B, T, C, H, W\) with T, C, H, W = \(4, 3, 8, 8\)"
    ):
        small()(np.zeros(shape, np.float32))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_which_frame_is_bright(variant):
    labels = np.arange(4) % 2
    films = 0.1 * RNG.standard_normal((4, 4, 3, 8, 8)).astype(np.float32)
    for film, label in zip(films, labels, strict=True):
        film[2 * label : 2 * label + 2] += 1
    model = small(variant, random=False, num_classes=2)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    loss = lambda model, x, y: ops.cross_entropy(model(x), y)  # noqa: E731
    losses = [train_step(model, loss, (films, labels), optimizer) for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]
