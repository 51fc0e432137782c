"""Pictures of the results: what a second buys, and who gains where."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from benchmarks.cases import BANDS, NAMES, REFERENCE
from benchmarks.summary import means, method_order

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

LINEAR_DB = 2.0  # gains beyond this are drawn on a logarithmic scale: interpolation loses tens of dB, and what matters are tenths
LIMITS_DB = (-30, 7)
TICKS_DB = (-20, -10, -5, -2, -1, 0, 1, 2, 5)


def draw_all(pairs: pd.DataFrame, out: Path) -> list[Path]:
    """Draw all pictures of the table of pairs into a folder; their paths."""
    pictures = []
    for noise, part in pairs[pairs["gain_db"].notna()].groupby("noise", sort=False):
        for name, draw in (("quality-seconds", quality_against_seconds), ("gains", gains)):
            path = out / f"{name}-{noise}.png"
            draw(part, path)
            pictures.append(path)
    return pictures


def quality_against_seconds(pairs: pd.DataFrame, path: Path) -> None:
    """Mean gain over the reference against mean seconds of fit and apply, a panel for each ratio and kind of operators.

    The vertical bar spans the pairs.
    """
    table = means(pairs)
    colours = _colours(table["method"])
    panels = [(operators, ratio) for operators in dict.fromkeys(table["operators"]) for ratio in sorted(set(table["ratio"]))]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(0.8 + 3.6 * len(panels), 4.6), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (operators, ratio) in zip(axes[0], panels, strict=True):
        here = pairs[(pairs["operators"] == operators) & (pairs["ratio"] == ratio)]
        for method, part in here.groupby("method", sort=False):
            gain, seconds = part["gain_db"], part["seconds"].mean()
            axis.plot([seconds] * 2, [gain.min(), gain.max()], color=colours[str(method)], lw=1.5, alpha=0.5)
            marker = "D" if method == REFERENCE else "o"
            axis.plot(seconds, gain.mean(), marker, color=colours[str(method)], ms=8, label=str(method))
        axis.set_xscale("log")
        axis.set_title(f"operators {operators}, 1:{ratio}", fontsize=10)
        axis.set_xlabel("seconds, fit and apply")
        _gain_axis(axis, "y")
    axes[0, 0].set_ylabel("PSNR against the oracle, dB")
    figure.legend(*_legend(axes), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _save(figure, path)


def gains(pairs: pd.DataFrame, path: Path) -> None:
    """Gain over the reference of every pair and method, a panel for each kind of operators; seeds averaged."""
    others = pairs[pairs["method"] != REFERENCE]
    colours = _colours(pairs["method"])
    groups = list((pairs if others.empty else others).groupby("operators", sort=False))
    names = list(dict.fromkeys(zip(pairs["scene"], pairs["response"], pairs["ratio"], strict=True)))
    size = (2.4 + 4.4 * len(groups), 1.6 + 0.32 * len(names))
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (operators, part) in zip(axes[0], groups, strict=True):
        methods = method_order(part["method"])
        for k, method in enumerate(methods):
            mine = part[part["method"] == method]
            rows = [names.index(name) for name in zip(mine["scene"], mine["response"], mine["ratio"], strict=True)]
            # Methods of one pair lie beside each other, that none hides another.
            height = np.array(rows) + 0.5 * (k / max(len(methods) - 1, 1) - 0.5)
            axis.plot(mine["gain_db"], height, "o", color=colours[method], ms=5, label=method)
        axis.set_title(f"operators {operators}", fontsize=10)
        axis.set_xlabel("PSNR against the oracle, dB")
        axis.set_yticks(range(len(names)), [f"{NAMES.get(s, s)}, {BANDS[r]}, 1:{ratio}" for s, r, ratio in names], fontsize=8)
        axis.set_ylim(len(names) - 0.5, -0.5)
        for edge in range(len(names) - 1):
            axis.axhline(edge + 0.5, color="0.9", lw=0.6)
        _gain_axis(axis, "x")
    figure.legend(*_legend(axes), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _save(figure, path)


def _gain_axis(axis: Axes, which: str) -> None:
    (axis.set_xscale if which == "x" else axis.set_yscale)("symlog", linthresh=LINEAR_DB, linscale=1.5)
    scale = axis.xaxis if which == "x" else axis.yaxis
    scale.set_ticks(TICKS_DB, [f"{tick:+d}" if tick else "0" for tick in TICKS_DB], fontsize=8)
    (axis.set_xlim if which == "x" else axis.set_ylim)(*LIMITS_DB)
    scale.set_minor_locator(NullLocator())
    (axis.axvline if which == "x" else axis.axhline)(0, color="0.3", lw=0.8, zorder=1)
    axis.grid(color="0.93", lw=0.6)
    axis.set_axisbelow(True)


def _colours(methods: pd.Series) -> dict[str, tuple[float, ...]]:
    """One colour a method, the same in all panels."""
    palette = plt.get_cmap("tab20" if methods.nunique() > 10 else "tab10")
    return {method: palette(k) for k, method in enumerate(method_order(methods))}


def _legend(axes: np.ndarray) -> tuple[list[Artist], list[str]]:
    """Each method once, whichever panels it is in."""
    found: dict[str, Artist] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    names = method_order(found)
    return [found[name] for name in names], names


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
