"""The rows of a comparison of two ports of an improved WGAN, layer by layer, all weights 0.05."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from precision.studies import wgan_blocks, wgan_layers, wgan_networks, wgan_norms
from precision.studies.material import Material
from precision.studies.row import Entry, Row, made
from precision.studies.wgan_live import Models

Maker = Callable[[Models, Entry], Row]

MAKERS: dict[str, Maker] = {
    "gen-data": wgan_layers.copied,
    "depth-to-space": wgan_layers.depth_to_space,
    "conv2d": wgan_layers.conv2d,
    "conv-mean-pool": wgan_layers.conv_mean_pool,
    "mean-pool-conv": wgan_layers.mean_pool_conv,
    "upsample-conv": wgan_layers.upsample_conv,
    "block-up": wgan_blocks.up,
    "block-down": wgan_blocks.down,
    "generator": wgan_networks.generator,
    "critic-input": wgan_layers.copied_images,
    "critic": wgan_networks.critic,
    "critic-gradient": wgan_networks.penalty,
    "layer-norm": wgan_norms.layer,
    "layer-norm-gradient": wgan_norms.layer_gradient,
    "batch-norm": wgan_norms.batch,
    "batch-norm-gradient": wgan_norms.batch_gradient,
}


def rows(material: Material) -> Sequence[Row]:
    """The rows, in the document's order; see `precision.studies.row`."""
    with Models(material) as models:

        def bound(maker: Maker) -> Callable[[Material, Entry], Row]:
            return lambda _, entry: maker(models, entry)

        return made("wgan", {name: bound(maker) for name, maker in MAKERS.items()}, material)
