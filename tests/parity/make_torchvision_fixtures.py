"""Small random AlexNets, VGGs and FCNs of torchvision, and what they compute; the first of each are stored.

Written with torch 2.13.0 and torchvision 0.28.0, seeds as given, from the repository's root, with the extras dev and
parity and torchvision:  python -m tests.parity.make_torchvision_fixtures
"""

import contextlib
import functools
import importlib.util

from tests.parity.torch_published import images, main, publish

# what torchvision registers on import for operators of its compiled library, which need not be there
OPERATORS = (
    "nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d",
    "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward", "_deform_conv2d_backward",
)  # fmt: skip


@functools.cache
def torchvision_models():
    """The module ``torchvision.models``, also where its compiled operators do not load."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in OPERATORS:
        with contextlib.suppress(RuntimeError):  # it is there already
            library.define(f"{name}(Tensor x) -> Tensor")
    import torchvision.models

    return torchvision.models


def published(model, folder, size, seed):
    """Publish a model of torchvision: a folder without config.json, as torchvision has none."""
    from safetensors.torch import save_file

    kind = type(model)
    answer = lambda self, x: {"logits": kind.forward(self, x)}  # noqa: E731
    save = lambda self, to: (to.mkdir(exist_ok=True), save_file(self.state_dict(), to / "model.safetensors"))  # noqa: E731
    model.__class__ = type(kind.__name__, (kind,), {"forward": answer, "save_pretrained": save})
    channels = model.features[0].in_channels
    publish(folder, model.double(), images(2, channels, *size, seed=seed), seed=seed)


def alexnet(seed=0, size=(64, 67), widths=(4, 6, 8, 6, 4), hidden=12):
    """A function that publishes a small AlexNet."""

    def make(folder):
        import torch

        model = torchvision_models().AlexNet(num_classes=5)
        inputs = 3
        for place, width in zip((0, 3, 6, 8, 10), widths, strict=True):
            old = model.features[place]
            options = old.kernel_size, old.stride, old.padding
            model.features[place] = torch.nn.Conv2d(inputs, width, *options)
            inputs = width
        model.classifier[1] = torch.nn.Linear(inputs * 36, hidden)
        model.classifier[4] = torch.nn.Linear(hidden, hidden)
        model.classifier[6] = torch.nn.Linear(hidden, 5)
        published(model, folder, size, seed)

    return make


def vgg(plan, seed=0, size=(32, 40), norm=False, hidden=12):
    """A function that publishes a small VGG."""

    def make(folder):
        import torch

        vgg = torchvision_models().vgg
        model = vgg.VGG(torch.nn.Sequential(), num_classes=5, init_weights=False)
        model.features = vgg.make_layers(plan, batch_norm=norm)
        width = [n for n in plan if n != "M"][-1]
        model.classifier[0] = torch.nn.Linear(width * 49, hidden)
        model.classifier[3] = torch.nn.Linear(hidden, hidden)
        model.classifier[6] = torch.nn.Linear(hidden, 5)
        published(model, folder, size, seed)

    return make


def fcn(seed=0, size=(37, 50), layers=(1, 1, 2, 2), auxiliary=True, width=8):
    """A function that publishes a small FCN on a ResNet of bottlenecks; with that many channels where torchvision has 64."""

    def make(folder):
        from safetensors.torch import save_file

        models = torchvision_models()
        intermediate = models._utils.IntermediateLayerGetter
        body = models.ResNet(
            models.resnet.Bottleneck, layers, replace_stride_with_dilation=[False, True, True]
        )
        _narrow(body, 64 // width)
        wanted = {"layer4": "out", **({"layer3": "aux"} if auxiliary else {})}
        heads = [models.segmentation.fcn.FCNHead(width * n, 5) for n in (32, 16)]
        model = models.segmentation.FCN(intermediate(body, wanted), heads[0], heads[1] if auxiliary else None)
        kind = type(model)
        save = lambda self, to: (
            to.mkdir(exist_ok=True),
            save_file(self.state_dict(), to / "model.safetensors"),
        )  # noqa: E731
        model.__class__ = type(kind.__name__, (kind,), {"save_pretrained": save})
        outputs = {"logits": "out", **({"auxiliary": "aux"} if auxiliary else {})}
        publish(folder, model.double(), images(1, 3, *size, seed=seed), outputs=outputs, seed=seed)

    return make


def _narrow(module, factor):
    """Give every convolution and norm of a ResNet a fraction of its channels, but the image's."""
    import torch

    for name, child in module.named_children():
        if isinstance(child, torch.nn.Conv2d):
            channels = [n if n == 3 else n // factor for n in (child.in_channels, child.out_channels)]
            options = child.kernel_size, child.stride, child.padding, child.dilation
            setattr(module, name, torch.nn.Conv2d(*channels, *options, bias=False))
        elif isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, torch.nn.BatchNorm2d(child.num_features // factor))
        else:
            _narrow(child, factor)


STORED = {
    "fcn": fcn(seed=6, layers=(1, 1, 1, 2), width=2, size=(25, 30)),
    "alexnet": alexnet(seed=1),
    "vgg": vgg([4, "M", 6, 6, "M"], seed=2),
    "vgg-bn": vgg([4, 4, "M", 6, "M"], seed=3, norm=True, size=(28, 28)),
}
LIVE = {}
if importlib.util.find_spec("torchvision"):
    LIVE = {
        "fcn, no second head": fcn(seed=7, auxiliary=False, width=8, size=(40, 33)),
        "fcn, deeper": fcn(seed=8, layers=(2, 1, 3, 3), width=4, size=(48, 64)),
        "alexnet, torchvision's size": alexnet(seed=4, size=(224, 224), widths=(8, 8, 8, 8, 8)),
        "vgg, five stages": vgg([4, "M", 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, "M"], seed=5, size=(70, 64)),
    }

if __name__ == "__main__":
    main(STORED)
