"""Blocks against what their definitions say, computed another way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geofuse.methods.mossfuse.blocks import ChannelGate, ChannelNorm, LargeKernel, LargeKernelBlock, ResponseNorm, TransposedAttention


def test_attention_by_its_definition() -> None:
    """Per head, with explicit loops: softmax(t · q̂ k̂ᵀ) v, q and k of unit length over all pixels."""
    torch.manual_seed(0)
    attention = TransposedAttention(6, 2)
    attention.temperature.data = torch.tensor([1.5, 0.4]).reshape(2, 1, 1)
    x = torch.rand(1, 6, 5, 7)
    with torch.no_grad():
        q, k = attention.query_key(x)[0].flatten(1).chunk(2)
        v = attention.value(x)[0].flatten(1)
        out = torch.empty(6, 35)
        for head in range(2):
            rows = slice(3 * head, 3 * head + 3)
            scores = F.normalize(q[rows], dim=1) @ F.normalize(k[rows], dim=1).T
            out[rows] = torch.softmax(attention.temperature[head] * scores, 1) @ v[rows]
        expected = F.conv2d(out.reshape(1, 6, 5, 7), attention.project.weight)
        torch.testing.assert_close(attention(x), expected)


def test_attention_of_a_batch_is_that_of_each_image() -> None:
    torch.manual_seed(0)
    attention, x = TransposedAttention(8, 4), torch.rand(3, 8, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), torch.cat([attention(x[i : i + 1]) for i in range(3)]))


def test_attention_survives_a_black_image() -> None:
    attention = TransposedAttention(8, 2)
    x = torch.zeros(1, 8, 4, 4, requires_grad=True)
    attention(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 is not a multiple of the 4 heads"):
        TransposedAttention(10, 4)


def test_large_kernel_branches_merge_into_one() -> None:
    torch.manual_seed(0)
    kernel = LargeKernel(4)
    with torch.no_grad():
        for _ in range(5):
            kernel(2 + torch.randn(2, 4, 12, 12))  # running statistics away from 0 and 1
        kernel.eval()
        x = torch.randn(1, 4, 15, 11)
        branches = torch.stack([norm(conv(x)) for conv, norm in zip(kernel.convolutions, kernel.norms, strict=True)]).sum(0)
        torch.testing.assert_close(kernel(x), branches, rtol=1e-5, atol=1e-5)


def test_large_kernel_block_starts_near_the_identity() -> None:
    block, x = LargeKernelBlock(8, 7), torch.rand(2, 8, 12, 12)
    with torch.no_grad():
        difference = (block(x) - x).abs().max()
    assert 0 < difference < 1e-4
    with pytest.raises(ValueError, match="kernel is 5"):
        LargeKernelBlock(8, 5)


def test_response_norm_by_its_definition() -> None:
    norm, x = ResponseNorm(5), torch.rand(2, 5, 6, 4)
    norm.gamma.data, norm.beta.data = torch.rand(5, 1, 1), torch.rand(5, 1, 1)
    length = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    expected = norm.gamma * (x * length / length.mean(1, keepdim=True)) + norm.beta + x
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


def test_channel_norm_is_a_layer_norm_per_pixel() -> None:
    norm, x = ChannelNorm(6), 3 + torch.randn(2, 6, 4, 5)
    pixel = x[1, :, 2, 3]
    expected = (pixel - pixel.mean()) / torch.sqrt(pixel.var(unbiased=False) + 1e-5)
    torch.testing.assert_close(norm(x)[1, :, 2, 3], expected, rtol=1e-4, atol=1e-5)


def test_channel_gate_has_an_effect_in_spectral_aggregation() -> None:
    """A positive weight per channel before q's normalisation would cancel, and its parameters would never learn."""
    attention, gate = TransposedAttention(8, 2), ChannelGate(8)
    x, y = torch.rand(1, 8, 6, 6), torch.rand(1, 8, 6, 6)
    attention(x, scale=gate(y)).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in gate.parameters())
    parameters = [p for p in gate.parameters() if isinstance(p, nn.Parameter)]
    assert len(parameters) == 3
