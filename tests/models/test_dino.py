"""DINO: exact counts, views in one pass a size, a teacher that follows, a centre that is updated after its use.

Not here: the loss (tests/losses/test_self_distillation.py), the recipe (tests/recipes/test_dino_digits.py).
"""

import copy

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, nn, optim
from minivis.losses import dino_loss, update_centre
from minivis.models import (
    DINO,
    ConvStem,
    DINOHead,
    MultiCropNetwork,
    ViT,
    dino_vitb16,
    dino_vits16,
    start_small,
)
from minivis.nn import init
from minivis.train import train_step


def count(module):
    return sum(p.size for p in module.parameters())


def small(rng=0, drop_path=0.0, **options):
    vit = ViT(8, 2, width=16, depth=2, heads=2, num_classes=0, channels=1, drop_path=drop_path, rng=rng)
    return DINO(vit, **{"K": 12, "hidden": 10, "bottleneck": 6, **options}, rng=rng)


def views(B=3, sides=(8, 8, 4, 4), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((B, 1, side, side), np.float32) for side in sides]


def test_published_sizes_have_their_exact_numbers_of_parameters(monkeypatch):
    monkeypatch.setattr(copy, "deepcopy", lambda module: module)  # a second network would only need memory
    heads = {384: 22_352_128, 768: 23_138_560, 192: 21_958_912}
    with init.skip_init():
        assert {width: count(DINOHead(width)) for width in heads} == heads
        for build, backbone, width in ((dino_vits16, 21_665_664, 384), (dino_vitb16, 85_798_656, 768)):
            model = build()
            assert count(model.teacher.backbone) == backbone
            assert count(model.teacher) == backbone + heads[width]
            assert f"{count(model.teacher):,}" in build.__doc__ and f"{backbone:,}" in build.__doc__


def test_the_lengths_of_the_directions_are_not_trained():
    student = small().student
    assert [name for name, p in student.named_parameters() if not p.requires_grad] == ["head.last_layer.gain"]
    assert student.head.last_layer.gain.numpy().tolist() == [[1.0]] * 12


def test_scores_are_cosines():
    head = DINOHead(5, K=7, hidden=4, bottleneck=3, rng=1)
    head.last_layer.weight.data *= 50  # the length of a direction does not count
    scores = head(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)).numpy()
    assert abs(scores).max() <= 1 + 1e-6
    w = head.last_layer.weight.numpy()
    x = head.linears[0](np.ones((1, 5), np.float32))
    for linear in head.linears[1:]:
        x = linear(mv.ops.gelu(x))
    x = x.numpy()[0]
    expected = w @ x / np.linalg.norm(w, axis=1) / np.linalg.norm(x)
    assert np.allclose(head(np.ones((1, 5), np.float32)).numpy()[0], expected, atol=1e-6)


def test_batch_norm_in_the_head_is_that_of_its_batch():
    head = DINOHead(5, K=7, hidden=4, bottleneck=3, batch_norm=True, rng=1)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    head(x)
    assert np.allclose(head.norms[0].running_mean, 0.1 * head.linears[0](x).numpy().mean(axis=0), atol=1e-7)


def test_views_of_one_size_go_through_the_backbone_together():
    network = small().student
    calls = []
    real = network.backbone.forward
    network.backbone.forward = lambda images: calls.append(images.shape) or real(images)
    scores = network(views()).numpy()
    assert calls == [(6, 1, 8, 8), (6, 1, 4, 4)]
    each = np.concatenate([network(view).numpy() for view in views()])
    assert np.allclose(scores, each, atol=1e-6)


def test_the_teacher_starts_as_a_copy_and_only_the_student_learns():
    model = small().train()
    student, teacher = model.student.state_dict(), model.teacher.state_dict()
    assert all(np.array_equal(student[name], teacher[name]) for name in teacher)
    output = model(views())
    output.loss.backward()
    assert not output.teacher.requires_grad
    assert all(p.grad is None for p in model.teacher.parameters())
    learned = {name for name, p in model.student.named_parameters() if p.grad is not None}
    assert learned == {name for name, p in model.student.named_parameters() if name != "head.last_layer.gain"}


def test_the_loss_has_the_centre_from_before_the_batch():
    model = small().train()
    model.centre[...] = np.linspace(-1, 1, 12)
    before = model.centre.copy()
    output = model(views())
    args = output.student.numpy(), output.teacher.numpy()
    assert float(output.loss.numpy()) == pytest.approx(float(dino_loss(*args, before, crops=4)), rel=1e-6)
    assert np.allclose(model.centre, update_centre(before, args[1]))
    after = model.centre.copy()
    model.eval()(views())
    assert np.array_equal(model.centre, after)  # nothing is learned in evaluation


def test_the_teacher_follows_by_the_momentum():
    model = small()
    start = model.teacher.state_dict()
    for p in model.student.parameters():
        p.data = p.data + 1
    model.follow(1.0)
    assert all(np.array_equal(x, start[name]) for name, x in model.teacher.state_dict().items())
    model.follow(0.75)
    assert all(
        np.allclose(x, start[name] + 0.25, atol=1e-6) for name, x in model.teacher.state_dict().items()
    )
    # half-way through its schedule the momentum of 0.996 is 0.998
    assert optim.cosine_schedule(0.996, 1.0, 1000)[500] == pytest.approx(0.998)


def test_weights_may_begin_small():
    vit = ViT(16, 2, width=32, depth=2, heads=4, num_classes=0, channels=1, rng=0)
    image = np.random.default_rng(0).random((3, 1, 16, 16), np.float32)
    before = vit.attention_maps(image)[-1]
    after = start_small(vit, rng=1).attention_maps(image)[-1]
    tokens = after.shape[-1]
    assert np.abs(after - 1 / tokens).max() < 0.1 / tokens < np.abs(before - 1 / tokens).max()


def test_drop_path_is_the_students_alone():
    model = small(drop_path=0.5)
    assert max(m.p for m in model.student.modules() if isinstance(m, nn.DropPath)) == 0.5
    assert max(m.p for m in model.teacher.modules() if isinstance(m, nn.DropPath)) == 0


def test_a_training_lowers_the_loss_and_keeps_both_networks_apart():
    model = small(K=8, batch_norm=True).train()
    optimizer = optim.AdamW(optim.decay_groups(model.student, 0.04), lr=5e-3)
    batch = views(B=16)
    found = []
    for _ in range(12):
        found.append(train_step(model, lambda model, *views: model(list(views)).loss, batch, optimizer))
        model.follow(0.9)
    assert np.mean(found[-3:]) < found[0]
    assert not np.array_equal(
        model.student.head.linears[0].weight.numpy(), model.teacher.head.linears[0].weight.numpy()
    )


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    model = small().to(dtype).train()
    output = model([view.astype(dtype) for view in views()])
    assert output.loss.dtype == output.student.dtype == dtype and model.centre.dtype == dtype
    right = small().train()(views())
    close = 2e-2 if dtype == "float16" else 1e-5
    assert float(output.loss.numpy()) == pytest.approx(float(right.loss.numpy()), rel=close)


def test_the_same_on_a_device(device):
    model = small().to(device).train()
    there = [mv.to_device(view, device) for view in views()]
    output = model(there)
    output.loss.backward()
    assert output.loss.device == device
    right = small().train()(views())
    assert float(output.loss.numpy()) == pytest.approx(float(right.loss.numpy()), rel=1e-4)


def test_saved_and_loaded(tmp_path):
    stem = ConvStem(1, 16, rng=0)
    vit = ViT(8, 1, width=16, depth=1, heads=2, num_classes=0, channels=1, backbone=stem, rng=0)
    for model in (DINO(vit, K=9, hidden=8, bottleneck=4, batch_norm=True), MultiCropNetwork(vit, 9, 8, 4)):
        mv.save(model.eval(), tmp_path)
        again = mv.load(tmp_path)
        image = views(1, (8,))[0]
        assert np.array_equal(again.features(image).numpy(), model.features(image).numpy())


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: small()(views(sides=(8,))), r"^DINO: views must be a list of two or more, .* got 1 views"),
        (lambda: small()(views()[0]), r"^DINO: views must be a list of two or more, .* got ndarray"),
        (
            lambda: small()([views(2)[0], views(3)[0]]),
            r"^DINO: every view must be \(B, C, H, W\) with one B, got \(2, 1, 8, 8\), \(3, 1, 8, 8\)",
        ),
        (lambda: DINO(nn.Linear(3, 4), K=4), r"^MultiCropNetwork: backbone must have been made with a width"),
        (lambda: DINOHead(4, K=0), r"^DINOHead: K must be a whole number of at least 1, got 0"),
        (
            lambda: DINOHead(4, K=3, hidden=2, bottleneck=2)(np.zeros((2, 5), np.float32)),
            r"^DINOHead: features must be \(B, D=4\) \(features: \(2, 5\)\)",
        ),
        (lambda: small(global_views=0), r"^DINO: global_views must be a whole number of at least 1"),
        (lambda: ConvStem(0, 4), r"^ConvStem: channels must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_arrays_and_tensors_are_the_same_views():
    model = small().eval()
    given = views()
    as_tensors = model([Tensor(view) for view in given])
    assert float(as_tensors.loss.numpy()) == float(model(given).loss.numpy())
