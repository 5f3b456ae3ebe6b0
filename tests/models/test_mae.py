"""The masked autoencoder: its published sizes, what is hidden from its encoder, its pictures, learning, devices, refusals.

Not here: its parts (tests/vision/test_masking.py, tests/losses/test_masked_modelling.py), parity (tests/parity).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, optim
from minivis.models import MAE, ViT, mae_position_table
from minivis.nn import init, looking
from minivis.vision import patchify, sine_position_code

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 3, 8, 12)).astype(np.float32)
NOISE = RNG.random((2, 6))


def small(rng=0, **options):
    encoder = ViT((8, 12), 4, 16, 2, 4, num_classes=0, rng=rng)
    return MAE(encoder, 8, 1, 2, rng=rng, **options)


@pytest.mark.parametrize(
    ("name", "count", "fixed", "encoder"),
    [
        ("mae_b16", 111_907_840, 252_160, 85_798_656),
        ("mae_l16", 329_541_888, 302_592, 303_301_632),
        ("mae_h14", 657_074_508, 460_544, 630_764_800),
    ],
)
def test_published_sizes(name, count, fixed, encoder):
    with init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == count
    assert sum(p.size for p in model.parameters() if not p.requires_grad) == fixed
    assert sum(p.size for p in model.encoder.parameters()) == encoder


def test_the_table_codes_columns_first_and_sines_before_cosines():
    table = mae_position_table(3, 2, 8)
    assert not table[0, 0].any() and table.shape == (1, 7, 8)
    waves = [1, 1 / 100]
    row, column = 2, 1
    expected = [f(place * w) for place in (column, row) for f in (np.sin, np.cos) for w in waves]
    np.testing.assert_allclose(table[0, 1 + 2 * row + column], expected, atol=1e-7)
    same = np.sort(sine_position_code(3, 2, 8).reshape(6, 8), axis=1)
    np.testing.assert_array_equal(np.sort(table[0, 1:], axis=1), same)


def test_the_encoder_does_not_see_what_is_hidden():
    model = small()
    _, mask, _ = model.encode(IMAGES, NOISE)
    assert mask.sum(axis=1).tolist() == [5, 5]  # int(6 / 4) = 1 is kept
    hidden = np.kron(mask.reshape(2, 1, 2, 3), np.ones((4, 4), bool))
    other = np.where(hidden, 7, IMAGES).astype(np.float32)
    first, second = (model(x, NOISE) for x in (IMAGES, other))
    np.testing.assert_array_equal(first.prediction.numpy(), second.prediction.numpy())
    assert float(first.loss) != float(second.loss)


def test_with_nothing_hidden_the_encoder_is_the_vit():
    model = small()
    latent, mask, ids = model.encode(IMAGES, NOISE, ratio=0.0)
    whole = model.encoder.features(IMAGES).numpy()
    assert not mask.any()
    order = np.argsort(ids, axis=1)
    np.testing.assert_allclose(latent.numpy()[:, 0], whole[:, 0], atol=1e-5)
    np.testing.assert_allclose(
        latent.numpy()[:, 1:], np.take_along_axis(whole[:, 1:], order[..., None], axis=1), atol=1e-5
    )


@pytest.mark.parametrize("norm_pix", [False, True])
def test_reconstructions_keep_what_is_visible(norm_pix):
    model = small(norm_pix=norm_pix)
    pictures, mask = model.reconstruct(IMAGES, NOISE)
    got, there = patchify(pictures, 4), patchify(IMAGES, 4)
    np.testing.assert_array_equal(got[~mask], there[~mask])
    prediction = model(IMAGES, NOISE).prediction.numpy()[mask]
    if norm_pix:  # the mean and the deviation of the true patch
        spread = np.sqrt(there[mask].var(axis=1, ddof=1, keepdims=True) + 1e-6)
        prediction = prediction * spread + there[mask].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(got[mask], prediction, atol=1e-6)


def test_noise_is_drawn_from_the_model_or_from_what_is_given():
    model = small()
    state = model.rng_state()
    first, second = (model(IMAGES).mask for _ in range(2))
    assert not np.array_equal(first, second)
    model.load_rng_state(state)
    np.testing.assert_array_equal(model(IMAGES).mask, first)
    masks = [model(IMAGES, rng=np.random.default_rng(5), ratio=0.5).mask for _ in range(2)]
    np.testing.assert_array_equal(*masks)
    with looking(model) as seen:
        mask = model(IMAGES, NOISE).mask
    np.testing.assert_array_equal(seen["mask"], mask)


def test_it_learns_and_its_tables_stay(tmp_path):
    model = small()
    before = model.state_dict()
    optimiser = optim.AdamW(optim.decay_groups(model, 0.05), lr=1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = model(IMAGES, NOISE).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    same = {name for name, x in model.state_dict().items() if np.array_equal(x, before[name])}
    assert same == {"encoder.pos_embed", "decoder_pos_embed"}
    mv.save(model, tmp_path)
    back = mv.load(tmp_path)
    assert float(back(IMAGES, NOISE).loss) == pytest.approx(float(model(IMAGES, NOISE).loss), rel=1e-6)
    assert not back.encoder.pos_embed.requires_grad


def test_the_same_on_a_device(device):
    found = []
    for where in ("cpu", device):
        model = small().to(where)
        output = model(*(mv.to_device(x, where) for x in (IMAGES, NOISE)))
        output.loss.backward()
        model(mv.to_device(IMAGES, where))  # draws its own noise
        model.reconstruct(mv.to_device(IMAGES, where))
        learned = [mv.to_numpy(p.grad) for p in model.parameters() if p.requires_grad]
        found.append([output.prediction.numpy(), output.loss.numpy(), mv.to_numpy(output.mask), *learned])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: small(ratio=1.0), "MAE: ratio must be at least 0 and less than 1, got 1.0"),
        (lambda: MAE(ViT(8, 4, 8, 1, 2, pool="mean")), "MAE: encoder must be a ViT with one class token"),
        (
            lambda: MAE(ViT(8, 4, 8, 1, 2), decoder_depth=0),
            "MAE: decoder_depth must be a whole number of at least 1",
        ),
        (lambda: small()(IMAGES[0]), r"MAE: images must be \(B, C, H, W\)"),
        (lambda: small()(IMAGES.swapaxes(2, 3)), "MAE: the position codes are made for 2 x 3 patches"),
        (
            lambda: small()(IMAGES, NOISE[:, 1:]),
            r"random_masking: tokens must be \(B, N, D\) and noise \(B, N\)",
        ),
        (lambda: small()(IMAGES, NOISE, ratio=0.0), "mae_loss: no patch is hidden"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make()
