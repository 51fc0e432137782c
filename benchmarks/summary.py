"""The arithmetic of the tables: differences to the reference, means over seeds, means over scenes and responses.

Seeds are averaged within a case first and cases then, so that a case with more seeds counts no more than another.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from benchmarks.cases import DEFAULT_METHODS, NOISES, OPERATORS, REFERENCE
from benchmarks.measure import SCORES
from benchmarks.results import KEY

PAIR = ["noise", "operators", "scene", "response", "ratio"]
NUMBERS = [*SCORES, "fit_s", "apply_s", "cpu_s", "case_s", "peak_rss_mb", "ratio", "seed"]


def measured(rows: Iterable[dict[str, str]], code: str | None = None) -> pd.DataFrame:
    """Result lines of one version of the code, the newest line of each case.

    Parameters
    ----------
    rows : iterable of dict
        As `benchmarks.results.Results.rows` gives them.
    code : str, optional
        Which version; that of the last line by default.

    Returns
    -------
    DataFrame
        One row a case, with ``seconds`` (fit and apply), ``gain_db`` (PSNR minus the reference's on the same pair) and ``sam_factor`` (SAM
        over the reference's); ``method`` names the device too where it is not the CPU.
    """
    frame = pd.DataFrame(list(rows))
    if frame.empty:
        return frame
    frame = frame[frame["code"] == (code or frame["code"].iloc[-1])].drop_duplicates(list(KEY), keep="last")
    frame[NUMBERS] = frame[NUMBERS].apply(pd.to_numeric)
    elsewhere = frame["device"] != "cpu"
    frame.loc[elsewhere, "method"] = frame["method"] + " on " + frame["device"]
    frame["seconds"] = frame["fit_s"] + frame["apply_s"]
    # Without noise all seeds of a method see the same pair, and the reference was run once.
    frame["noise_seed"] = frame["seed"].where(frame["noise"] == "noisy", 0)
    oracle = frame.loc[frame["method"] == REFERENCE, [*PAIR, "noise_seed", "psnr_db", "sam_deg"]]
    frame = frame.merge(oracle, how="left", on=[*PAIR, "noise_seed"], suffixes=("", "_oracle"))
    frame["gain_db"] = frame["psnr_db"] - frame["psnr_db_oracle"]
    frame["sam_factor"] = frame["sam_deg"] / frame["sam_deg_oracle"]
    return frame


def by_pair(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: one row for each pair (scene, response, ratio, noise, operators) and method; rejected cases have no numbers."""
    groups = frame.groupby([*PAIR, "method"], sort=False)
    table = groups[[*SCORES, "gain_db", "sam_factor", "seconds", "fit_s", "apply_s", "cpu_s", "peak_rss_mb"]].mean()
    table["psnr_spread_db"] = groups["psnr_db"].std(ddof=1)
    table["worst_gain_db"] = groups["gain_db"].min()
    table["below"] = groups["gain_db"].agg(lambda gain: int((gain < 0).sum()))
    table["runs"] = groups["gain_db"].count()
    table["used"] = groups["used"].agg(lambda used: ", ".join(sorted(set(used) - {""})))
    table["error"] = groups["error"].agg(lambda error: next((e for e in error if e), ""))
    return _sorted(table.reset_index())


def means(pairs: pd.DataFrame) -> pd.DataFrame:
    """Means over scenes and responses of `by_pair`: one row for each noise, operators, ratio and method."""
    groups = pairs[pairs["psnr_db"].notna()].groupby(["noise", "operators", "ratio", "method"], sort=False)
    table = groups[[*SCORES, "gain_db", "sam_factor", "seconds", "cpu_s"]].mean()
    table["worst_gain_db"] = groups["worst_gain_db"].min()
    table["below"] = groups["below"].sum()
    table["runs"] = groups["runs"].sum()
    table["pairs"] = groups["gain_db"].count()
    table["peak_rss_mb"] = groups["peak_rss_mb"].max()
    return _sorted(table.reset_index())


def method_order(methods: Iterable[str]) -> list[str]:
    """Methods from the simplest to the product's, the reference first, strangers last."""
    usual = [REFERENCE, *DEFAULT_METHODS]
    return sorted(set(methods), key=lambda m: (usual.index(m) if m in usual else len(usual), m))


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    ranks = {
        "noise": list(NOISES),
        "operators": list(OPERATORS),
        "scene": sorted(set(table.get("scene", []))),
        "method": method_order(table["method"]),
    }

    def rank(column: pd.Series) -> pd.Series:
        order = ranks.get(str(column.name))
        return column if order is None else column.map(order.index)

    keys = [name for name in (*PAIR, "method") if name in table]
    return table.sort_values(keys, key=rank, ignore_index=True)
