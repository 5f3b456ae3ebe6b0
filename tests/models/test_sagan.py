"""SAGAN: exact numbers of parameters, its attention against loops and against the layer, what it draws, that it learns.

Not here: the laws of self_attention_2d (minivis.laws), what the recipe reaches (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import losses, models, nn, ops, optim
from minivis.models import SAGAN, Discriminator, Generator, SelfAttention2d, self_attention_2d
from minivis.models.sagan import DiscriminatorBlock

RNG = np.random.default_rng(5)
SMALL = {
    "image_size": 8, "channels": 1, "num_classes": 3, "latent_size": 4, "generator_widths": (16, 8),
    "discriminator_widths": (8, 16), "strides": (1, 2), "attention": 8,
}  # fmt: skip


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (models.sngan32_generator, 4_276_739),
        (models.sngan32_discriminator, 1_053_825),
        (lambda: models.sngan32_generator(10), 4_304_387),
        (lambda: models.sngan32_discriminator(10), 1_055_105),
        (lambda: models.sngan32_generator(attention=16), 4_309_508),
        (lambda: models.sngan32_discriminator(attention=16), 1_062_018),
        (models.sagan128_generator, 42_078_852),
        *[
            (lambda c=c: SelfAttention2d(c), n)
            for c, n in ((64, 2_049), (128, 8_193), (256, 32_769), (512, 131_073))
        ],
        *[
            (lambda c=c: SelfAttention2d(c, pool=True), n)
            for c, n in ((64, 5_121), (128, 20_481), (256, 81_921), (512, 327_681))
        ],
    ],
)
def test_published_sizes(make, parameters):
    with nn.init.skip_init():
        assert count(make()) == parameters


@pytest.mark.parametrize("pool", [False, True])
def test_the_layer_is_the_equation(pool):
    layer = SelfAttention2d(16, pool=pool, spectral=False, rng=1)
    layer.gamma.data[...] = 0.7
    x = RNG.standard_normal((2, 16, 4, 6), np.float32)
    wf, wg, wh, wv = (c.weight.data[:, :, 0, 0] for c in (layer.key, layer.query, layer.value, layer.out))
    with nn.looking(layer) as seen:
        y = layer(x).numpy()
    assert seen["weights"].shape == (2, 1, 24, 6 if pool else 24)
    np.testing.assert_allclose(seen["weights"].sum(-1), 1, rtol=1e-5)
    if not pool:
        np.testing.assert_allclose(y, self_attention_2d(x, wf, wg, wh, wv, 0.7), rtol=1e-4, atol=1e-5)
        return
    maps = [np.einsum("oc,bchw->bohw", w, x) for w in (wf, wh)]
    keys, values = (m.reshape(2, -1, 2, 2, 3, 2).max((3, 5)).reshape(2, -1, 6) for m in maps)
    for b, row, column in np.ndindex(2, 4, 6):
        scores = keys[b].T @ (wg @ x[b, :, row, column])
        beta = np.exp(scores - scores.max())
        mixed = wv @ (values[b] @ (beta / beta.sum()))
        np.testing.assert_allclose(
            y[b, :, row, column], 0.7 * mixed + x[b, :, row, column], rtol=1e-4, atol=1e-5
        )


def test_it_is_scaled_attention_with_longer_queries():
    x = RNG.standard_normal((1, 4, 2, 3))
    wf, wg, wh, wv = RNG.standard_normal((4, 3, 4))
    tokens = x.reshape(1, 4, 6).swapaxes(1, 2)
    out = ops.scaled_dot_product_attention(3**0.5 * (tokens @ wg.T), tokens @ wf.T, tokens @ wh.T) @ wv
    expected = 2 * out.swapaxes(1, 2).reshape(x.shape) + x
    np.testing.assert_allclose(self_attention_2d(x, wf, wg, wh, wv.T, 2.0), expected, rtol=1e-9)


def test_at_first_there_is_no_attention_and_only_gamma_learns():
    layer = SelfAttention2d(8, rng=0)
    x = RNG.standard_normal((2, 8, 4, 4), np.float32)
    y = layer(x)
    assert np.array_equal(y.numpy(), x)
    ops.sum(y * y).backward()
    assert np.abs(layer.gamma.grad).max() > 0
    assert all(np.abs(p.grad).max() == 0 for n, p in layer.named_parameters() if n != "gamma")


def test_the_order_of_mean_and_shortcut_makes_no_difference_in_the_first_block():
    block = DiscriminatorBlock(3, 4, 2, True, False, np.random.default_rng(0))
    x = RNG.standard_normal((1, 3, 4, 4), np.float32)
    np.testing.assert_allclose(
        block.shortcut(ops.avg_pool2d(x, 2)).numpy(), ops.avg_pool2d(block.shortcut(x), 2).numpy(), atol=1e-5
    )


@pytest.mark.parametrize("options", [{}, {"attention": 0}, {"num_classes": 0}, {"pool": True}])
def test_it_draws_images_of_classes_and_scores_them(options):
    model = SAGAN(**{**SMALL, **options}, rng=3).eval()
    labels = np.array([2, 0, 1]) if model.generator.num_classes else None
    asked = 3 if labels is None else labels
    images = model(asked, rng=1)
    assert images.shape == (3, 1, 8, 8) and 0 <= images.numpy().min() and images.numpy().max() <= 1
    assert np.array_equal(images.numpy(), model(asked, rng=1).numpy())
    assert not np.array_equal(images.numpy(), model(asked, rng=2).numpy())
    assert model.discriminator(2 * images - 1, labels).shape == (3,)
    with nn.looking(model) as seen:
        model.discriminator(model.draw(asked), labels)
    assert sorted(seen) == (
        []
        if options == {"attention": 0}
        else ["discriminator.attention.weights", "generator.attention.weights"]
    )


def test_the_projection_adds_the_product_of_class_and_features():
    model = Discriminator(8, (8, 16), (1, 2), num_classes=3, channels=1, spectral=False, rng=0).eval()
    x = RNG.standard_normal((2, 1, 8, 8), np.float32)
    one, other = (model(x, np.array([k, k])).numpy() for k in (0, 2))
    table = model.classes.weight.data
    features = x
    for block in model.blocks:
        features = block(features)
    features = ops.relu(features).numpy().sum((2, 3))
    np.testing.assert_allclose(one - other, features @ (table[0] - table[2]), rtol=1e-3, atol=1e-4)


def test_the_state_of_the_noise_is_saved_and_the_model_too(tmp_path):
    model = SAGAN(**SMALL, rng=0)
    assert list(model.rng_state()) == ["noise"]
    labels = np.array([0, 1])
    model.draw(labels)  # training: u and the statistics move
    mv.save(model, tmp_path)
    again = mv.load(tmp_path)
    assert np.array_equal(again(labels, rng=4).numpy(), model.eval()(labels, rng=4).numpy())


def test_two_turns_teach_it_one_picture():
    """The generator learns the brightness of two classes of plain squares."""
    model = SAGAN(**{**SMALL, "image_size": 4, "num_classes": 2, "attention": 0}, rng=0)
    labels = np.arange(8) % 2
    images = np.where(labels, 0.8, -0.8)[:, None, None, None] * np.ones((8, 1, 4, 4))
    images = images.astype(np.float32)
    d, g = (optim.Adam(part, lr=5e-3, betas=(0.0, 0.9)) for part in (model.discriminator, model.generator))
    for _ in range(20):
        model.zero_grad()
        losses.hinge_d(
            model.discriminator(images, labels), model.discriminator(model.draw(labels), labels)
        ).backward()
        d.step()
        model.zero_grad()
        losses.hinge_g(model.discriminator(model.draw(labels), labels)).backward()
        g.step()
    dark, bright = (model.draw(labels).numpy()[labels == k].mean() for k in (0, 1))
    assert bright - dark > 0.8


def test_the_same_on_a_device(device):
    model = SAGAN(**SMALL, rng=0)
    model.generator.attention.gamma.data[...] = 0.5
    labels = np.array([0, 2])
    found = []
    for where in ("cpu", device):
        model.to(where).eval()
        images = model.draw(mv.to_device(labels, where), rng=0)
        score = model.discriminator(images, mv.to_device(labels, where))
        found.append([images.numpy(), score.numpy()])
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: Generator(image_size=30), r"^Generator: 3 blocks cannot reach image_size=30"),
        (
            lambda: Generator(attention=7),
            r"^Generator: no map has the side attention=7; there are \[8, 16, 32\]",
        ),
        (lambda: Generator(widths=(8, 0)), "^Generator: widths"),
        (lambda: Discriminator(widths=(8, 8), strides=(2,)), "^Discriminator: 2 widths need as many strides"),
        (lambda: Discriminator(strides=(2, 2, 1, 3)), "^Discriminator: .*strides of 1 or 2"),
        (lambda: Discriminator(image_size=30), "^Discriminator: image_size=30 cannot be halved 2 times"),
        (lambda: SelfAttention2d(12), "^SelfAttention2d: channels must be a multiple of 8, got 12"),
        (
            lambda: SelfAttention2d(8, pool=True)(np.ones((1, 8, 3, 4), np.float32)),
            r"^SelfAttention2d: pool needs even sides \(x: \(1, 8, 3, 4\)\)",
        ),
        (
            lambda: self_attention_2d(np.ones((1, 3, 2, 2)), *np.ones((4, 2, 3)), 1.0),
            r"^self_attention_2d: wf, wg and wh must be \(D, C=3\).*wv: \(2, 3\)",
        ),
        (
            lambda: Generator(8, (8, 8), 4)(np.ones((2, 5), np.float32)),
            r"^Generator: latent must be \(B, latent_size=4\) \(latent: \(2, 5\)\)",
        ),
        (
            lambda: Generator(8, (8, 8), 4, num_classes=3)(np.ones((2, 4), np.float32)),
            "^Generator: it was made with num_classes=3 and needs labels",
        ),
        (
            lambda: Generator(8, (8, 8), 4)(np.ones((2, 4), np.float32), np.array([0, 1])),
            "^Generator: it was made with num_classes=0 and takes no labels",
        ),
        (
            lambda: Discriminator(8, (8,), (2,), 3)(np.ones((2, 3, 8, 8), np.float32), np.array([0])),
            r"^Discriminator: labels must be \(B=2,\) \(labels: \(1,\)\)",
        ),
        (
            lambda: Discriminator(8, (8,), (2,))(np.ones((2, 1, 8, 8), np.float32)),
            r"^Discriminator: images must be \(B, 3, 8, 8\) \(images: \(2, 1, 8, 8\)\)",
        ),
    ],
)
def test_mistakes_are_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_gamma_is_one_number_and_numpys_keeps_the_dtype():
    x = np.ones((1, 8, 2, 5), np.float32)
    w = np.ones((1, 8), np.float32)
    assert self_attention_2d(x, w, w, w, w.T, np.float64(0.5)).dtype == np.float32
    assert self_attention_2d(x, w, w, w, w.T, np.ones((1, 1, 1, 1, 1), np.float32)).shape == x.shape
    with pytest.raises(ValueError, match="self_attention_2d: gamma must be a number or have one element"):
        self_attention_2d(x, w, w, w, w.T, np.ones(5, np.float32))


def small(num_classes, **options):
    sizes = {"latent_size": 4, "generator_widths": (8, 8), "discriminator_widths": (8, 8), "strides": (1, 2)}
    return SAGAN(8, 1, num_classes, attention=8, **sizes, **options).eval()


def test_no_labels_give_no_images():
    assert small(10)(np.array([], int)).shape == small(0)(0).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("num_classes", "labels", "words"),
    [
        (10, 5, r"it has 10 classes and needs labels \(B,\), got 5"),
        (10, None, "needs labels"),
        (0, [1, 2], r"it has no classes and needs the number of images, got \[1, 2\]"),
        (0, 2.5, "the number of images, got 2.5"),
        (0, -1, "the number of images, got -1"),
    ],
)
def test_what_is_asked_for_must_fit_the_classes(num_classes, labels, words):
    with pytest.raises(ValueError, match=f"SAGAN: .*{words}"):
        small(num_classes)(labels)


@pytest.mark.parametrize("make", [Generator, Discriminator])
def test_classes_are_a_whole_number(make):
    for classes in (-1, 2.5):
        with pytest.raises(ValueError, match=f"^{make.__name__}: num_classes must be a whole number"):
            make(num_classes=classes)
    with pytest.raises(ValueError, match="Generator: widths must have at least one number"):
        Generator(widths=())
