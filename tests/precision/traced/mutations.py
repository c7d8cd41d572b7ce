"""One thing changed in one layer of a torch model, as a wrong port would have it."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

Change = Callable[[nn.Module], nn.Module]


def _set(**values: object) -> Change:
    def change(layer: nn.Module) -> nn.Module:
        for name, value in values.items():
            setattr(layer, name, value)
        return layer

    return change


def _weight(turn: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(layer: nn.Module) -> nn.Module:
        layer.weight.data = turn(layer.weight.data).contiguous()
        return layer

    return change


def _padded(layer: nn.Conv2d) -> nn.Module:
    """Zeros as TensorFlow's SAME puts them before a stride of two: none before, all after."""
    before, layer.padding = layer.padding, (0, 0)
    return nn.Sequential(nn.ZeroPad2d((0, 2 * before[1], 0, 2 * before[0])), layer)


def _reflected(layer: nn.Conv2d) -> nn.Module:
    layer.padding_mode = "reflect"
    layer._reversed_padding_repeated_twice = [layer.padding[1]] * 2 + [layer.padding[0]] * 2
    return layer


def _grouped(layer: nn.Conv2d) -> nn.Module:
    layer.groups = 2
    layer.weight.data = layer.weight.data[:, : layer.in_channels // 2].contiguous()
    return layer


def _shuffled(weight: torch.Tensor) -> torch.Tensor:
    return weight.flip(1)


def changes_of(layer: nn.Module) -> Iterator[tuple[str, Change, tuple[str, ...]]]:
    """What can be changed in a layer: its kind, the change, the parameters of which one must be named."""
    if isinstance(layer, nn.Conv2d):
        yield from _of_convolution(layer)
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        yield "eps", _set(eps=1e-3), ("eps",)
        yield "training", _set(training=True), ("training",)
        yield "momentum", _set(momentum=0.01), ()
        if bool((layer.weight != 1).any()):
            yield "affine", _set(weight=None, bias=None), ("affine",)
        if isinstance(layer, nn.BatchNorm2d):
            group = nn.GroupNorm(1, layer.num_features)
            group.weight, group.bias = layer.weight, layer.bias
            yield "normalization", lambda _: group, ("normalization",)
    elif isinstance(layer, nn.LayerNorm):
        yield "eps", _set(eps=1e-3), ("eps",)
        if bool((layer.weight != 1).any()):
            yield "affine", _set(weight=None, bias=None), ("affine",)
    elif isinstance(layer, nn.ReLU):
        yield "slope", lambda _: nn.LeakyReLU(0.01), ("activation",)
        yield "other", lambda _: nn.SiLU(), ("activation",)
        yield "missing", lambda _: nn.Identity(), ("input", "missing")
    elif isinstance(layer, nn.LeakyReLU):
        yield "slope", _set(negative_slope=0.2), ("negative_slope",)
    elif isinstance(layer, nn.GELU):
        yield "gelu", _set(approximate="tanh"), ("approximate",)
        yield "other", lambda _: nn.SiLU(), ("activation",)
    elif isinstance(layer, nn.MaxPool2d):
        average = nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
        yield "average", lambda _: average, ("operation",)
        if layer.kernel_size != 2:
            yield "kernel", _set(kernel_size=2, padding=0), ("kernel_size", "padding")
    elif isinstance(layer, nn.AvgPool2d) and layer.padding:
        yield "count", _set(count_include_pad=False), ("count_include_pad",)
    elif isinstance(layer, nn.AvgPool2d):
        yield "maximum", lambda _: nn.MaxPool2d(layer.kernel_size), ("operation",)
    elif isinstance(layer, nn.Upsample):
        yield "mode", _set(mode="bilinear"), ("mode",)
    elif isinstance(layer, nn.MultiheadAttention):
        yield "heads", _set(num_heads=2, head_dim=layer.embed_dim // 2), ("heads", "scale")
        bias = layer.in_proj_bias
        if bias is not None and bool(bias.any()):
            yield "bias", _set(in_proj_bias=None), ("bias",)
    elif isinstance(layer, nn.Linear):
        if layer.bias is not None and bool(layer.bias.any()):
            yield "bias", _set(bias=None), ("bias",)
        if layer.in_features == layer.out_features:
            yield "transposed", _weight(lambda w: w.T), ("weight transpose",)
    elif isinstance(layer, nn.Sigmoid | nn.Tanh):
        yield "other", lambda _: nn.Tanh() if isinstance(layer, nn.Sigmoid) else nn.Sigmoid(), ("activation",)
    elif isinstance(layer, nn.Softmax):
        yield "axis", _set(dim=0), ("axis",)


def _of_convolution(layer: nn.Conv2d) -> Iterator[tuple[str, Change, tuple[str, ...]]]:
    wide = layer.kernel_size[0] > 1
    if layer.bias is not None and bool(layer.bias.any()):
        yield "bias", _set(bias=None), ("bias",)
    if wide and layer.padding[0] > 0 and layer.dilation[0] == 1:
        yield "padding", _padded, ("padding",)
        yield "padding mode", _reflected, ("padding mode",)
    if layer.kernel_size[0] == 3 and layer.padding == (1, 1):
        yield "dilation", _set(dilation=(2, 2), padding=(2, 2)), ("dilation",)
    if wide:
        yield "flip", _weight(lambda w: w.flip(2, 3)), ("kernel flip",)
        yield "transpose", _weight(lambda w: w.transpose(2, 3)), ("kernel transpose",)
    if layer.groups == 1 and layer.in_channels % 2 == 0 == layer.out_channels % 2:
        yield "groups", _grouped, ("groups",)
    if layer.groups == 1 and layer.in_channels > 1:
        yield "channels", _weight(_shuffled), ("channel order",)


def possible(net: nn.Module) -> list[tuple[str, str, tuple[str, ...]]]:
    """Every change of every layer: the layer's name, the kind of the change, the parameters to be named."""
    found = []
    for name, layer in net.named_modules():
        if "out_proj" not in name:
            found += [(name, kind, wanted) for kind, _, wanted in changes_of(layer)]
    return found


def mutated(net: nn.Module, name: str, kind: str) -> nn.Module:
    """The model with one change."""
    net = copy.deepcopy(net)
    parent, _, leaf = name.rpartition(".")
    layer = net.get_submodule(name)
    change = next(change for each, change, _ in changes_of(layer) if each == kind)
    with torch.no_grad():
        changed = change(layer)
    if changed is not layer:
        setattr(net.get_submodule(parent), leaf, changed)
        if isinstance(changed, nn.GroupNorm | nn.AvgPool2d | nn.MaxPool2d):
            changed.eval()
    return net
