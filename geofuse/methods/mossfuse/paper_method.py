"""The published network as a fusion method: any pair, tiled with its frozen statistics, saved and resumed like every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geofuse.errors import Warned, warned
from geofuse.methods.base import EVERYTHING, Arrays, Cost, Inner, Role, Tick, Values
from geofuse.methods.mossfuse.network import MossFuse, on_device
from geofuse.methods.mossfuse.paper import BLOCKS, HEADS, WIDTH, Training, inputs, train
from geofuse.methods.mossfuse.statistics import freeze
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair, Settings

TRAINING_ONLY = "training_decoders."
TRAIN_SECONDS = 60.0  # by default
UPSAMPLING = 3  # coarse pixels that interpolation of the HSI reaches, gaps filled from their neighbours included


@dataclass(frozen=True)
class FittedPaper:
    """The trained network of one scene.

    Attributes
    ----------
    network : MossFuse
        In evaluation mode, statistics frozen.
    scale : float
        Reflectance that it sees as 1.
    ratio : float
        Coarse over fine pixel size.
    training : Training or None
        How the training went; not part of the state.
    """

    network: MossFuse
    scale: float
    ratio: float
    training: Training | None = None
    _copies: dict[torch.device, MossFuse] = field(default_factory=dict, repr=False, compare=False)

    @property
    def halo(self) -> int:
        """Fine pixels that a tile reads around itself."""
        return self.network.reach + int(np.ceil(UPSAMPLING * self.ratio))

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Fuse a patch; see `geofuse.methods.base.FittedMethod`."""
        hsi, msi = inputs(patch, self.scale)
        return on_device(self.network, msi.device, self._copies)(hsi[None].float(), msi[None].float())[0][:, *inner] * self.scale

    def state(self) -> tuple[Arrays, Values]:
        """See `geofuse.methods.base.FittedMethod`; decoders that only training needs are left out."""
        tensors = self.network.state_dict()
        arrays = {name: t.detach().cpu().numpy() for name, t in tensors.items() if not name.startswith(TRAINING_ONLY)}
        return arrays, {"scale": self.scale, "ratio": self.ratio, "channels": list(self.network.channels)}

    def describe(self) -> dict[str, Any]:
        """How the training went, for the report."""
        if self.training is None:
            return {}
        losses = self.training.losses
        shown = losses[:: max(1, len(losses) // 200)]
        return {
            "network": {
                "steps": len(losses),
                "seconds": round(self.training.seconds, 1),
                "converged": self.training.converged,
                "loss": [round(float(v), 5) for v in shown],
            }
        }

    def warnings(self, prepared: PreparedPair, bands: Sequence[str]) -> list[Warned]:
        """Say that the training did not converge."""
        if self.training is None or self.training.converged:
            return []
        text = f"The published network has not converged after {len(self.training.losses)} steps: it is there to compare with."
        return [warned("network-not-converged", f"{text} Use 'gem' for a product, or train it for longer on a GPU.")]


class PaperMethod:
    """MossFuse with network, losses and schedule as published."""

    name = "mossfuse-paper"
    summary = "the network of MossFuse with losses and schedule as published, trained on the scene; far from converged on a CPU"
    reference = "Du et al., arXiv:2412.04802"
    role: Role = "reproduction"
    quick = False

    def cost(self, ratio: float) -> Cost:
        """See `geofuse.methods.base.FusionMethod`."""
        reach = MossFuse(8, 4, WIDTH, BLOCKS, HEADS).reach
        return Cost(reach + int(np.ceil(UPSAMPLING * ratio)), images=12, channels=2 * WIDTH, seconds=40e-6)

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedPaper:
        """Train and freeze; see `train`."""
        tick("training the published network")
        bright = np.concatenate([p.hsi[:, p.hsi_valid].cpu().numpy().ravel() for p in prepared.patches])
        scale = max(float(np.quantile(bright, 0.999)), 1e-6)
        network, training = train(
            prepared.patches,
            prepared.response.matrix,
            scale=scale,
            seconds=TRAIN_SECONDS if settings.train_seconds is None else settings.train_seconds,
            seed=settings.seed,
            device=settings.device,
            progress=settings.progress,
        )
        return FittedPaper(network, scale, prepared.pair.ratio, training)

    def restore(self, arrays: Arrays, values: Values) -> FittedPaper:
        """Undo `FittedPaper.state`."""
        bands, msi_bands, width = (int(v) for v in values["channels"])
        network = MossFuse(bands, msi_bands, width, BLOCKS, HEADS)
        own = network.state_dict()
        network.load_state_dict(own | {name: torch.as_tensor(np.array(a)) for name, a in arrays.items()})
        freeze(network)
        return FittedPaper(network, float(values["scale"]), float(values["ratio"]))


PAPER = PaperMethod()
