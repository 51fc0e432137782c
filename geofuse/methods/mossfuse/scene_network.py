"""The network of MossFuse on a scene's own coefficients: a change of the prior mean, zero before it is trained.

It sees the K noise-whitened coefficients of the estimate and the whitened MSI, whatever the sensors, the ratio and the offset. Three things
make it safe to ask it for a change:

- only directions in which the MSI says nothing are changed, in units of what the prior leaves open there;
- it is antisymmetric: what the network makes of the pair turned by half a turn is taken away, half of both. Through a symmetric PSF a
  sharpening or a blur cannot be told from the detail itself; what lies to one side can (docs/research/learned-filters.md);
- every whole-image statistic is frozen, so that it is a local operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geofuse.methods.mossfuse.network import Features, MossFuse, on_device
from geofuse.methods.mossfuse.statistics import freeze
from geofuse.pair.images import as_like, mix

WIDTH, BLOCKS, HEADS, KERNELS = 8, 1, 2, (7,)
TRAINING_ONLY = "training_decoders."


def make_network(coefficients: int, bands: int, width: int = WIDTH) -> MossFuse:
    """The network of the paper, smaller, whose last layer is zero."""
    network = MossFuse(coefficients, bands, width, BLOCKS, HEADS, KERNELS)
    last = network.decode[-1][-1]  # type: ignore[index]
    nn.init.zeros_(last.weight)
    return network


def turned(image: Tensor) -> Tensor:
    """Turn an image by half a turn."""
    return image.flip(-2, -1)


def both_ways(image: Tensor) -> Tensor:
    """An image (c, H, W), and the same turned by half a turn: (2, c, H, W)."""
    return torch.stack([image, turned(image)])


def one_sided(made: Tensor) -> Tensor:
    """What is antisymmetric in what was made of `both_ways`: (2, c, H, W) to (c, H, W)."""
    return (made[0] - turned(made[1])) / 2


@dataclass(frozen=True)
class Scaling:
    """Frozen scales of what goes into the network, and comes out.

    Attributes
    ----------
    z : ndarray, shape (K,)
        Standard deviation of the coefficients over the scene.
    m : ndarray, shape (M,)
        Standard deviation of the MSI bands over the scene, in noise units.
    change : ndarray, shape (K, K)
        From the network's output to a change of the coefficients.
    """

    z: np.ndarray
    m: np.ndarray
    change: np.ndarray

    def inputs(self, z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate and MSI as the network sees them, both ways round: (2, K, H, W) and (2, M, H, W)."""
        return both_ways(z / as_like(self.z, z)[:, None, None]).float(), both_ways(m / as_like(self.m, m)[:, None, None]).float()

    def outputs(self, made: Tensor, like: Tensor) -> Tensor:
        """Change of the coefficients, (K, H, W)."""
        change = one_sided(made).to(like.dtype)
        return mix(as_like(self.change, change), change)


@dataclass(frozen=True)
class SceneNetwork:
    """A trained network, frozen: a change of the prior mean like the learned filters (`geofuse.methods.gem.estimator.Filters`).

    Attributes
    ----------
    network : MossFuse
        In evaluation mode, statistics frozen.
    scaling : Scaling
    """

    network: MossFuse
    scaling: Scaling
    _copies: dict[torch.device, MossFuse] = field(default_factory=dict, repr=False, compare=False)

    @property
    def reach(self) -> int:
        """Fine pixels that it reaches to each side."""
        return self.network.reach

    def change(self, z: Tensor, m: Tensor) -> Tensor:
        """What it adds to an estimate (K, H, W), beside the whitened MSI (M, H, W)."""
        network, (images, guides) = on_device(self.network, z.device, self._copies), self.scaling.inputs(z, m)
        # One way after the other: what the blocks hold meanwhile is most of the memory.
        return self.scaling.outputs(torch.cat([network(images[k : k + 1], guides[k : k + 1]) for k in range(2)]), z)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that decides about the change, for storage; decoders that only training needs are left out."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items() if not name.startswith(TRAINING_ONLY)}
        scales = {f"scaling.{name}": array for name, array in vars(self.scaling).items()}
        return {name: t.detach().cpu().numpy() for name, t in tensors.items()} | scales

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> SceneNetwork:
        """Undo `arrays`; raises ValueError where they do not make one network."""
        tensors = {name.removeprefix("network."): torch.as_tensor(np.array(a)) for name, a in arrays.items() if name.startswith("network.")}
        scaling = Scaling(**{name: arrays[f"scaling.{name}"] for name in ("z", "m", "change")})
        coefficients, bands, width = len(scaling.z), len(scaling.m), len(tensors["merge.weight"])
        # By the arrays that are there, before a network of their word is made.
        for name, shape in (
            ("encode_hsi.0", (width, coefficients, 3, 3)),
            ("encode_msi.0", (width, bands, 3, 3)),
            ("merge", (width, 2 * width, 1, 1)),
        ):
            _check(name, tensors[f"{name}.weight"].shape, shape)
        _check("change", scaling.change.shape, (coefficients, coefficients))
        network = make_network(coefficients, bands, width)
        own = network.state_dict()
        for name in (own.keys() | tensors.keys()) - {name for name in own if name.startswith(TRAINING_ONLY)}:
            _check(name, tensors[name].shape, own[name].shape)
        network.load_state_dict(own | tensors)
        freeze(network)
        return SceneNetwork(network, scaling)


def _check(name: str, found: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(found) != tuple(expected):
        raise ValueError(f"{name} of the network has shape {tuple(found)}; expected {tuple(expected)}")


def known_features(features: Features, known: Tensor) -> Features:
    """Features without the pixels where an image is missing."""
    return Features(*(image * known for image in features))
