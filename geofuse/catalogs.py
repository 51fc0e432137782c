"""The public verbs for catalogs: which items make pairs, and every pair through the one pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from geofuse.stac.pairs import Pair, Pairs


def search_pairs(
    source: str,
    hsi: str,
    msi: str,
    *,
    bbox: tuple[float, float, float, float] | str | None = None,
    datetime: str | None = None,
    max_gap: str = "5d",
    max_cloud: float = 20.0,
    min_overlap: float = 0.5,
    allow_hosts: Sequence[str] = (),
    patch_url: Callable[[str], str] | None = None,
) -> pd.DataFrame:
    """Pairs of a STAC catalog: to each hyperspectral item the multispectral one, or several, that suit it best. Only metadata are read.

    Parameters
    ----------
    source : str
        Address of a STAC API; path or address of a ``catalog.json``, a ``collection.json`` or an ItemCollection (``.json``, ``.geojson``);
        path of an ``items.parquet``.
    hsi, msi : str
        Ids of the collections.
    bbox : tuple of float or str, optional
        West, south, east, north in degrees, which the HSI touches.
    datetime : str, optional
        When the HSI was acquired: a day, month or year, or ``START/END``; ISO 8601, ``..`` is open.
    max_gap : str
        Time between both at most, such as ``"5d"`` or ``"36h"``.
    max_cloud : float
        Cloud cover (``eo:cloud_cover``) of either at most, percent. An item that does not say is not left out.
    min_overlap : float
        Share of the HSI's footprint that the MSI covers at least, from 0 to 1.
    allow_hosts : sequence of str
        Hosts of this machine or its network that the catalog may name (``"file"``: files); its own it may.
    patch_url : callable, optional
        Makes of the address of an asset the one to open, such as ``planetary_computer.sign``.

    Returns
    -------
    DataFrame
        One row a pair, in the order of the hyperspectral items: ``id``, ``hsi``, ``msi`` (list of ids), ``reason``, ``overlap`` (0 to 1),
        ``gap_days``, ``cloud_percent``, ``geometry`` (footprint of the HSI, degrees), ``pair`` (for `geofuse.batch`). A GeoDataFrame where geopandas is
        installed. ``attrs["left"]`` lists the hyperspectral items without partner, with reasons.

    Raises
    ------
    InvalidInput
        The source cannot be read, or an argument makes no sense.
    """
    from geofuse.stac.pairs import Wanted, find_pairs

    wanted = Wanted.of(hsi, msi, bbox, datetime, max_gap, max_cloud, min_overlap)
    return _table(find_pairs(source, wanted, allow_hosts, patch_url))


def batch(
    pairs: pd.DataFrame,
    output: str | Path,
    *,
    jobs: int = 1,
    scheduler: str = "threads",
    method: str = "auto",
    srf: str | Path = "auto",
    model: str | Path | None = None,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    memory: int | None = None,
    dtype: str = "int16",
    hsi_bands: str | None = None,
    msi_bands: str | None = None,
    msi_resolution: float | None = None,
    uncertainty: bool = False,
    progress: bool = True,
    seed: int = 0,
    train_seconds: float | None = None,
    mask: str | Path | None = None,
    masked: str = "nodata",
    register: str = "global",
    report: Sequence[str] = (),
    overwrite: bool = False,
) -> pd.DataFrame:
    """Fuse every pair of a table into a STAC collection; what is there already, of the same inputs and options, stays.

    Parameters
    ----------
    pairs : DataFrame
        What `search_pairs` returned, or rows of it.
    output : path
        Folder, or one in object storage (``s3://bucket/folder``); ``collection.json``, ``items.parquet``, ``log.jsonl`` and a folder for each pair appear in it.
    jobs : int
        Pairs at once, each in a process of its own where there are several (a script needs ``if __name__ == "__main__":`` then).
    scheduler : str
        Address of a dask scheduler that runs already, whose workers make one pair each (``tcp://…``); by default this machine makes them.
    method, srf, model, tile, device, uncertainty, progress, seed, train_seconds, mask, masked, register
        As for `geofuse.fuse`; ``model`` is the file of a model, ``mask`` a raster.
    memory : int, optional
        Bytes that all pairs at once may use (at an address: each worker); 8 GB by default.
    dtype : str
        ``int16`` (scale 0.0001) or ``float32``.
    hsi_bands, msi_bands, msi_resolution
        As ``bands`` and ``resolution`` of `geofuse.open_hsi` and `geofuse.open_msi`.

    report : sequence of str
        Kinds of report beside each image: ``json``, which is always written, and ``html``.
    overwrite : bool
        Make every pair again, also what is done.

    Returns
    -------
    DataFrame
        One row a pair: ``id``, ``state`` (``done``, ``failed``, ``waiting``), ``reason``, ``seconds``, and scores.

    Raises
    ------
    InvalidInput
        The table is none of pairs, an option cannot be used, or another batch works in the folder. A pair that fails raises nothing.
    """
    import pandas as pd

    from geofuse.errors import InvalidInput
    from geofuse.io.write.folders import folder_at
    from geofuse.pipeline.batch import checked_options, run_batch
    from geofuse.run.plan import DEFAULT_MEMORY

    if "pair" not in getattr(pairs, "columns", ()):
        raise InvalidInput("The table has no column 'pair'; expected what geofuse.search_pairs returned, or rows of it.")
    options = {
        "method": method, "srf": str(srf), "model": None if model is None else Path(model), "tile": tile, "device": device,
        "memory": DEFAULT_MEMORY if memory is None else memory, "dtype": dtype, "hsi_bands": hsi_bands, "msi_bands": msi_bands, "msi_resolution": msi_resolution,
        "uncertainty": uncertainty, "seed": seed, "mask": None if mask is None else str(mask), "masked": masked,
        "register": register, "train_seconds": train_seconds, "report": report,
    }  # fmt: skip
    left = [(row["hsi"], row["reason"]) for row in pairs.attrs.get("left", ())]
    checked_options(options, jobs, scheduler)
    states = run_batch(
        list(pairs["pair"]), folder_at(output), options, again=overwrite, jobs=jobs, scheduler=scheduler, progress=progress, left=left
    )
    return pd.DataFrame([state.row | state.scores for state in states], columns=None if states else ["id", "state", "reason", "seconds"])


def _cloud(pair: Pair) -> float | None:
    """Of the cloudiest of its multispectral items."""
    return max((item.cloud for item in pair.msi if item.cloud is not None), default=None)


def _table(found: Pairs) -> pd.DataFrame:
    import pandas as pd

    columns = ("id", "hsi", "msi", "reason", "overlap", "gap_days", "cloud_percent", "geometry", "pair")
    rows = [
        (p.id, p.hsi.id, [m.id for m in p.msi], p.reason, p.overlap, p.gap / 86400, _cloud(p), p.hsi.footprint, p) for p in found.pairs
    ]  # fmt: skip
    frame: Any = pd.DataFrame(rows, columns=list(columns))
    try:
        import geopandas
    except ImportError:
        pass
    else:
        frame = geopandas.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326")
    frame.attrs["left"] = [{"hsi": name, "reason": reason} for name, reason in found.left]
    return frame
