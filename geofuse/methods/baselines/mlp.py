"""A per-pixel network across scales: from an MSI pixel to a spectrum, learned where both are known and applied where only the MSI is.

After Shah and Duarte 2025, "SpectraLift: physics-guided spectral-inversion network for self-supervised hyperspectral image
super-resolution", arXiv 2507.13339.

What follows the paper and its program: six hidden layers of 64 with leaky rectifiers (slope 0.3) and a skip connection around the second
layer and around each further pair, a linear output, mean absolute error, Adam under one cycle of the learning rate (linear up over the
first 30 % from a tenth of the peak, linear down to 1e-6), no prior, no spatial context. What does not:

- The input at the coarse scale is the MSI seen through the PSF, not the response applied to the HSI: on real pairs these differ by what
  the sensors disagree in, and it is the MSI that the network is applied to.
- Inputs are standardised by band and outputs by their mean and one common scale; the peak rate is 3e-3 instead of 1e-2, and the schedule
  1500 steps instead of 2500.
- The inputs are given half the noise that single MSI pixels have, anew in every step: at the coarse scale it is averaged away, and a network
  that never saw it magnifies it.
- A tenth of the coarse pixels is held out, and the weights that predict them best are kept. Large scenes are learned from in random batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofuse.methods.gem.noise import msi_noise
from geofuse.pair.images import as_like
from geofuse.pair.psf.builder import Psf

WIDTH, SLOPE = 64, 0.3
STEPS, WARM_UP = 1500, 0.3
FIRST_RATE, PEAK_RATE, LAST_RATE = 3e-4, 3e-3, 1e-6
HELD_OUT, MAX_HELD_OUT = 0.1, 2048
BATCH = 2048  # pixels a step: the steps then take less than a minute on one core, whatever the size of the scene
CHECK_EVERY, PATIENCE = 10, 500  # steps
INPUT_NOISE = 0.5  # of the estimate, which is on the high side where a scene is textured everywhere
CHUNK = 2**16  # pixels that are predicted at once


def mlp(hsi: Tensor, msi: Tensor, operator: Psf, *, steps: int = STEPS, seed: int = 0) -> Tensor:
    """Fuse by a network from MSI pixels to spectra, trained on the coarse pixels of this pair.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance.
    msi : Tensor, shape (M, H, W)
        Reflectance.
    operator : Psf
        The PSF, with which the MSI is brought to the coarse grid.
    steps : int
        Length of the learning schedule.
    seed : int
        For the first weights, the held-out pixels and the batches; same seed, same device, same result.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    with torch.inference_mode(False), torch.enable_grad():
        seen = operator.observed.flatten() > 0
        # Copies: tensors that were made in inference mode may not take part in learning.
        inputs = Standard.of(operator.forward(msi).flatten(1).T[seen].clone(), by_channel=True)
        targets = Standard.of(hsi.flatten(1).T[seen].clone(), by_channel=False)
        noise = INPUT_NOISE * as_like(msi_noise([msi.double().cpu().numpy()]), msi) / inputs.scale
        network = learn(inputs.values, targets.values, noise, steps, seed)
    with torch.no_grad():
        pixels = msi.flatten(1).T
        spectra = [targets.undo(network(inputs.do(part))) for part in pixels.split(CHUNK)]
    return torch.cat(spectra).T.reshape(len(hsi), *msi.shape[1:])


@dataclass(frozen=True)
class Standard:
    """Values (N, channels) less their mean, in units of their spread, and the way there and back."""

    values: Tensor
    mean: Tensor
    scale: Tensor

    @staticmethod
    def of(values: Tensor, *, by_channel: bool) -> Standard:
        """Standardise; ``by_channel`` in each channel's own spread, else in the root mean square of them all."""
        mean = values.mean(0)
        power = (values - mean).square()
        scale = (power.mean(0) if by_channel else power.mean()).sqrt().clamp_min(1e-9)
        return Standard((values - mean) / scale, mean, scale)

    def do(self, values: Tensor) -> Tensor:
        """Standardise others in the same way."""
        return (values - self.mean) / self.scale

    def undo(self, values: Tensor) -> Tensor:
        """Back to reflectance."""
        return values * self.scale + self.mean


class SpectralNetwork(nn.Module):
    """From M to B channels, pixel by pixel: (N, M) to (N, B)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(WIDTH if i else inputs, WIDTH) for i in range(6))
        self.output = nn.Linear(WIDTH, outputs)
        for layer in (*self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Predict."""
        first, second, *pairs = self.hidden
        x = _bent(first(pixels))
        x = x + _bent(second(x))
        for inner, outer in zip(pairs[::2], pairs[1::2], strict=True):
            x = x + _bent(outer(_bent(inner(x))))
        predicted: Tensor = self.output(x)
        return predicted


def _bent(values: Tensor) -> Tensor:
    return F.leaky_relu(values, SLOPE)


def learn(inputs: Tensor, targets: Tensor, noise: Tensor, steps: int = STEPS, seed: int = 0) -> SpectralNetwork:
    """Train on pairs (N, M) and (N, B), the inputs with ``noise`` of standard deviations (M,); the weights are those that predict the held-out pixels best."""
    generator = torch.Generator().manual_seed(seed)

    def noisy(pixels: Tensor) -> Tensor:
        return pixels + noise * torch.randn(pixels.shape, generator=generator).to(pixels)

    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    count = min(int(HELD_OUT * len(inputs)), MAX_HELD_OUT)
    held_out, used = order[:count], order[count:]
    if count == 0:  # too few pixels to spare any: the loss itself decides
        held_out = used
    questions, answers = noisy(inputs[held_out]), targets[held_out]
    network = _seeded_network(inputs.shape[1], targets.shape[1], seed).to(inputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=FIRST_RATE)
    best, best_step, kept = float("inf"), 0, _copy(network)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step / steps)
        batch = used if len(used) <= BATCH else used[torch.randint(len(used), (BATCH,), generator=generator).to(used.device)]
        optimizer.zero_grad()
        F.l1_loss(network(noisy(inputs[batch])), targets[batch]).backward()
        optimizer.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
            with torch.no_grad():
                error = float(F.l1_loss(network(questions), answers))
            if error < best:
                best, best_step, kept = error, step, _copy(network)
            elif step - best_step >= PATIENCE:
                break
    network.load_state_dict(kept)
    return network


def rate(done: float) -> float:
    """Learning rate where a share ``done`` of the schedule is over.

    Examples
    --------
    >>> [round(rate(share), 6) for share in (0, 0.15, 0.3, 0.65, 1)]
    [0.0003, 0.00165, 0.003, 0.0015, 1e-06]
    """
    if done < WARM_UP:
        return FIRST_RATE + (PEAK_RATE - FIRST_RATE) * done / WARM_UP
    return PEAK_RATE + (LAST_RATE - PEAK_RATE) * (done - WARM_UP) / (1 - WARM_UP)


def _seeded_network(inputs: int, outputs: int, seed: int) -> SpectralNetwork:
    """First weights from a seed, without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpectralNetwork(inputs, outputs)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
