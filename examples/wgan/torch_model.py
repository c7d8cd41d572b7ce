"""The improved WGAN in PyTorch (Gulrajani et al. 2017, arXiv 1704.00028): blocks, generator, critic.

Normalizations come before the convolutions; a block goes up by nearest neighbours (a depth-to-space of the
image four times over) or down by mean pooling, its shortcut likewise.  `changes` replaces parameters of
single layers by name, {"block2.norm1": {"eps": 1e-3}}: what a wrong port would do.
"""

import torch
import torch.nn.functional as F
from torch import nn
from weights import images, kernel, noise


class HandMade(nn.Module):
    """Layer normalization over a sample, written by hand: (x - mean) / (std + eps) by default."""

    def __init__(self, channels, eps=1e-5, unbiased=True, inside=False):
        super().__init__()
        self.eps, self.unbiased, self.inside = eps, unbiased, inside
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        centred = x - x.mean((1, 2, 3), keepdim=True)
        if self.inside:
            y = centred / torch.sqrt(x.var((1, 2, 3), keepdim=True, unbiased=self.unbiased) + self.eps)
        else:
            y = centred / (x.std((1, 2, 3), keepdim=True, unbiased=self.unbiased) + self.eps)
        return y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class OverChannels(nn.Module):
    """Layer normalization of every pixel over its channels, as Keras's layer does without an axis."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS = {
    "batch": nn.BatchNorm2d,
    "running": lambda channels, **p: nn.BatchNorm2d(channels, **p).eval(),
    "layer": lambda channels, groups=1, **p: nn.GroupNorm(groups, channels, **p),
    "instance": nn.InstanceNorm2d,
    "channels": OverChannels,
    "hand": HandMade,
    "none": lambda channels, **p: nn.Identity(),
}


class Maker:
    """Makes layers with their weights; see the module's text for `changes`."""

    def __init__(self, norm, weights="constant", changes=None):
        self.kind, self.weights, self.changes = norm, weights, changes or {}

    def conv(self, name, inputs, outputs, size, bias=True):
        given = {"padding": size // 2, "bias": bias, **self.changes.get(name, {})}
        layer = nn.Conv2d(inputs, outputs, size, **given)
        return self._filled(name, layer, (outputs, inputs, size, size))

    def linear(self, name, inputs, outputs):
        return self._filled(name, nn.Linear(inputs, outputs), (outputs, inputs))

    def norm(self, name, channels):
        given = {"kind": self.kind, **self.changes.get(name, {})}
        return NORMS[given.pop("kind")](channels, **given)

    def relu(self, name):
        slope = self.changes.get(name, {}).get("negative_slope", 0.0)
        return nn.LeakyReLU(slope) if slope else nn.ReLU()

    def upsample(self, name):
        return nn.Upsample(scale_factor=2, **{"mode": "nearest", **self.changes.get(name, {})})

    def pool(self, name):
        return nn.MaxPool2d(2) if self.changes.get(name, {}).get("kind") == "max" else nn.AvgPool2d(2)

    def _filled(self, name, layer, shape):
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel(name, shape, self.weights)))
            if layer.bias is not None:
                layer.bias.zero_()
        return layer


class Block(nn.Module):
    """A residual block that goes "up" or "down" by two."""

    def __init__(self, make, name, inputs, outputs, resample):
        super().__init__()
        middle = inputs if resample == "down" else outputs
        self.up, self.order = resample == "up", make.changes.get(name, {})
        self.norm1, self.norm2 = make.norm(f"{name}.norm1", inputs), make.norm(f"{name}.norm2", middle)
        self.relu1, self.relu2 = make.relu(f"{name}.relu1"), make.relu(f"{name}.relu2")
        self.conv1 = make.conv(f"{name}.conv1", inputs, middle, 3, bias=False)
        self.conv2 = make.conv(f"{name}.conv2", middle, outputs, 3)
        self.shortcut = make.conv(f"{name}.shortcut", inputs, outputs, 1)
        resampled = make.upsample if self.up else make.pool
        self.resample, self.resample_shortcut = resampled(f"{name}.resample"), resampled(f"{name}.aside")

    def forward(self, x):
        if self.order.get("shortcut") == "convolved first":
            aside = self.resample_shortcut(self.shortcut(x))
        elif self.order.get("shortcut") == "every second pixel":
            aside = self.shortcut(x[:, :, ::2, ::2])
        else:
            aside = self.shortcut(self.resample_shortcut(x))
        y = self.norm1(self.relu1(x)) if self.order.get("relu") == "first" else self.relu1(self.norm1(x))
        if self.up:
            return aside + self.conv2(self.relu2(self.norm2(self.conv1(self.resample(y)))))
        y = self.relu2(self.norm2(self.conv1(y)))
        pooled_first = self.order.get("residual") == "pooled first"
        y = self.conv2(self.resample(y)) if pooled_first else self.resample(self.conv2(y))
        return aside + y


class Generator(nn.Module):
    """Noise (N, 128) to images (N, 3, 64, 64)."""

    def __init__(self, make, dim=4):
        super().__init__()
        self.dim, widths = dim, [8 * dim, 8 * dim, 4 * dim, 2 * dim, dim]
        self.input = make.linear("generator.input", 128, 4 * 4 * 8 * dim)
        for k in range(4):
            setattr(self, f"block{k + 1}", Block(make, f"block{k + 1}", widths[k], widths[k + 1], "up"))
        self.norm, self.relu = make.norm("norm", dim), make.relu("relu")
        self.output, self.tanh = make.conv("output", dim, 3, 3), nn.Tanh()

    def forward(self, z):
        x = self.input(z).reshape(-1, 8 * self.dim, 4, 4)
        for block in (self.block1, self.block2, self.block3, self.block4):
            x = block(x)
        return self.tanh(self.output(self.relu(self.norm(x))))


class Critic(nn.Module):
    """Images (N, 3, 64, 64) to one score each."""

    def __init__(self, make, dim=4):
        super().__init__()
        widths = [dim, 2 * dim, 4 * dim, 8 * dim, 8 * dim]
        self.input = make.conv("critic.input", 3, dim, 3)
        for k in range(4):
            setattr(self, f"block{k + 1}", Block(make, f"block{k + 1}", widths[k], widths[k + 1], "down"))
        self.output = make.linear("critic.output", 4 * 4 * 8 * dim, 1)

    def forward(self, x):
        x = self.input(x)
        for block in (self.block1, self.block2, self.block3, self.block4):
            x = block(x)
        return self.output(torch.flatten(x, 1))


def model(norm="batch", weights="seeded", changes=None):
    """The generator; `norm` is "batch" there, in the critic "layer"."""
    return Generator(Maker(norm, weights, changes))


def inputs():
    return noise(4)


def depth_to_space(x, mode):
    """Blocks of 2: "DCR" splits the channels as (2, 2, C), "CRD" as (C, 2, 2)."""
    if mode == "CRD":
        return F.pixel_shuffle(x, 2)
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


class FourTimes(nn.Module):
    """The image four times over as channels, which become space: nearest neighbours, if the mode is DCR."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x):
        return depth_to_space(torch.cat([x, x, x, x], 1), self.mode)


def network(what, make, channels, outputs):
    """The part of the model that is asked for, as a module."""
    if what == "block":
        return Block(make, "block", channels, outputs, "down" if make.changes.get("down") else "up")
    if what in ("generator", "critic", "penalty"):
        return Generator(make) if what == "generator" else Critic(make)
    if what == "norm":
        return make.norm("norm", channels)
    conv, pool = make.conv("conv", channels, outputs, 3), nn.AvgPool2d(2)
    mode = make.changes.get("depth_to_space", {}).get("mode", "DCR")
    return nn.Sequential(
        *{
            "conv": [conv],
            "conv_mean_pool": [conv, pool],
            "mean_pool_conv": [pool, conv],
            "upsample_conv": [FourTimes(mode), conv],
        }[what]
    )


def run(what, params, x):
    """Run one part of the model on an array (N, C, ...); arrays by name, channels first.

    params: norm, weights, changes, outputs, dtype ("float32" or "float64").  `penalty` gives the gradient
    penalty 10 mean((|grad| - 1)^2) and the slopes |grad|; `norm` also the gradient of its mean square.
    """
    dtype = getattr(torch, params.get("dtype", "float32"))
    given = torch.from_numpy(x).to(dtype)
    if what == "depth_to_space":
        return {"output": depth_to_space(given, params["mode"]).contiguous().numpy()}
    make = Maker(params.get("norm", "layer"), params.get("weights", "constant"), params.get("changes"))
    net = network(what, make, x.shape[1], params.get("outputs", x.shape[1]))
    net.to(dtype)
    if what not in ("penalty", "norm"):
        with torch.no_grad():
            return {"output": net(given).contiguous().numpy()}
    given.requires_grad_()
    output = net(given)
    loss = output.sum() if what == "penalty" else (output * output).mean()
    (gradient,) = torch.autograd.grad(loss, given)
    if what == "norm":
        return {"output": output.detach().contiguous().numpy(), "gradient": gradient.contiguous().numpy()}
    slopes = gradient.flatten(1).norm(2, dim=1)
    return {"output": (10.0 * ((slopes - 1.0) ** 2).mean()).reshape(1).numpy(), "slopes": slopes.numpy()}


__all__ = ["images", "inputs", "model", "run"]
