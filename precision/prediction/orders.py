"""In which order a tensor-core kernel may take the products of a sum: the candidates, as data.

Kernels of cuDNN and cuBLAS do not say it.  What is known of such kernels: an implicit GEMM runs over channels
fastest, so that a fused step holds channels of one tap; CUTLASS takes a block of channels through all taps
before the next block (conv2d_fprop_activation_tile_access_iterator_analytic.h, `advance`); split-K and
stream-K kernels add sums of slices in float32.  A prediction takes one of these orders, and shows the others
beside it: where they differ, it is not certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from precision.errors import UserError
from reference.geometry import split_weight
from reference.scheme import Indices, Part

DEFAULT = "channels fastest"
CHANNEL_BLOCK = 32  # channels of a block that goes through all taps: CUTLASS's usual depth of a tile
_SPLITS = (2, 4)
_TERMS_A_SLICE = 64  # shorter sums are not split


@dataclass(frozen=True)
class KOrder:
    """slices: chains that start from zero and are then added one by one in float32; each holds the places of
    its products in the plan, -1 for a zero that fills a fused step."""

    name: str
    words: str
    slices: tuple[Indices, ...]


def channels_of(op: str, shapes: Mapping[str, tuple[int, ...]], params: Mapping[str, Any]) -> int | None:
    """Channels among the products of one sum, the rest being taps; None where there are no taps."""
    if not op.startswith("conv") or op.endswith("_weight_grad"):
        return None
    last = str(params.get("layout", "NCHW")).endswith("C")
    outer, inner, _ = split_weight(shapes["weight"], last)
    scatters = op.endswith("_input_grad") != op.startswith("conv_transpose")
    return outer // int(params.get("groups", 1)) if scatters else inner


def k_orders(part: Part, channels: int | None, terms: int) -> tuple[KOrder, ...]:
    """The candidates for a part's sums, the default first, each once; terms: products of a fused step."""
    count = part.scheme.terms
    each = channels if channels and count % channels == 0 else count
    taps = count // each if each else 1
    places = np.arange(count)
    # Rows are taps: (taps, channels).
    grid = places.reshape(taps, each) if part.scheme.last else places.reshape(each, taps).T
    first = np.ascontiguousarray(grid).reshape(-1)
    words = (
        "one chain, tap after tap, channels fastest" if taps > 1 else "one chain, from the first to the last"
    )
    found = [KOrder(DEFAULT, words, (first,))]
    if taps > 1:
        blocks = [grid[:, at : at + CHANNEL_BLOCK].reshape(-1) for at in range(0, each, CHANNEL_BLOCK)]
        found.append(
            KOrder(
                "channel blocks outermost",
                f"one chain, {CHANNEL_BLOCK} channels through all taps, then the next",
                (np.concatenate(blocks),),
            )
        )
        turned = np.ascontiguousarray(grid.T).reshape(-1)
        found.append(KOrder("taps fastest", "one chain, channel after channel, taps fastest", (turned,)))
        filled = np.full((taps, -(-each // terms) * terms), -1)
        filled[:, :each] = grid
        found.append(
            KOrder(
                "each tap filled",
                f"as the first, the channels of a tap filled with zeros to fused steps of {terms}",
                (filled.reshape(-1),),
            )
        )
    for slices in _SPLITS:
        if count >= slices * _TERMS_A_SLICE:
            step = -(-count // (slices * terms)) * terms
            cut = tuple(first[at : at + step] for at in range(0, count, step))
            found.append(
                KOrder(f"split K in {slices}", f"{slices} chains in a row, added one by one in float32", cut)
            )
    if count >= 2 * _TERMS_A_SLICE:
        block = np.arange(count) // CHANNEL_BLOCK % 2
        cut = tuple(first[block == i] for i in range(2))
        found.append(
            KOrder("two interleaved", f"blocks of {CHANNEL_BLOCK} products dealt to two chains in turn", cut)
        )
    return _distinct(found, terms)


def _distinct(found: list[KOrder], terms: int) -> tuple[KOrder, ...]:
    """Without those that fill the fused steps as an earlier one does."""
    seen: dict[tuple[bytes, ...], KOrder] = {}
    for order in found:
        # Within a fused step the order of the products does not matter, nor does a zero.
        key = tuple(_steps(each, terms).tobytes() for each in order.slices)
        seen.setdefault(key, order)
    return tuple(seen.values())


def _steps(places: Indices, terms: int) -> Indices:
    filled = np.full(-(-places.size // terms) * terms, -1)
    filled[: places.size] = places
    return np.sort(filled.reshape(-1, terms), axis=1)


def chosen_first(orders: tuple[KOrder, ...], name: str) -> tuple[KOrder, ...]:
    """The orders with the named one first.  Raises UserError where there is none of that name."""
    named = [order for order in orders if order.name == name]
    if not named:
        known = ", ".join(order.name for order in orders)
        raise UserError(f"the order of a sum is one of {known} here; got {name!r}; name one of them")
    return (*named, *(order for order in orders if order.name != name))
