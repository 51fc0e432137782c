"""The command line: thin; it parses, calls the public verbs, and turns rejections into one message and an exit status."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from geofuse.cli_batch import batch
from geofuse.cli_options import (
    SCHEDULERS,
    Bands,
    Debug,
    Device,
    Masked,
    MaskFile,
    Quiet,
    Register,
    Resolution,
    Seed,
    TrainSeconds,
    TrustInput,
    bytes_of,
    checked_json,
    is_stdout,
    path_of,
    tile_of,
    write_json,
)
from geofuse.errors import GeofuseError, InvalidInput
from geofuse.redact import redact

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(batch, name="batch")

DONE, FAILED, REJECTED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit status 0 done, 1 failed, 2 rejected, 130 interrupted."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        with _plain_warnings(), _terminated_like_interrupted():
            app(args=arguments, prog_name="geofuse")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into this, without a word
            with suppress(ValueError):  # not the main thread
                # Threads may still work on a tile, and Python waits for them: a second Ctrl-C ends the process without a traceback.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            print(f"geofuse: interrupted; {_interruption(end) or 'nothing was left behind'}", file=sys.stderr, flush=True)
        raise
    except Exception as error:
        if debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(f"geofuse: {redact(_explain(error))}", file=sys.stderr)
        raise SystemExit(REJECTED if isinstance(error, InvalidInput) else FAILED) from None


def _interruption(end: BaseException | None) -> str:
    """What the interrupt that led to this exit had to say."""
    while end is not None and not (isinstance(end, KeyboardInterrupt) and str(end)):
        end = end.__cause__ or end.__context__
    return str(end or "")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, which batch systems and containers send, end the run as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explain(error: Exception) -> str:
    """One line that a person can act on."""
    message = " ".join(str(error).split())
    if isinstance(error, GeofuseError | OSError | MemoryError):
        return message or type(error).__name__
    what = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"failed unexpectedly ({what}). This is a defect of geofuse: run the command again with --debug, and report what it shows."


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the place in the code, and none that are meant for developers."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {redact(str(message))}", file=sys.stderr)
        yield


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"geofuse {version('geofuse')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which version this is, and end.")
    ] = False,
) -> None:
    """Hyperspectral bands at multispectral pixels."""


@app.command()
def fuse(
    hsi: Annotated[str, typer.Argument(help="Hyperspectral raster: many bands, coarse pixels. A file, a STAC item (.json) or a URL.")],
    msi: Annotated[str, typer.Argument(help="Multispectral raster: few bands, fine pixels. A file, a STAC item (.json) or a URL.")],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="COG (.tif) or Zarr store (.zarr) to write, a path or s3://…; its quality layer and its STAC item go beside it.",
        ),
    ],
    method: Annotated[
        str, typer.Option(help="auto (the best estimator for the scene), or one of those that `geofuse methods` lists.")
    ] = "auto",
    hsi_bands: Bands = None,
    msi_bands: Bands = None,
    msi_resolution: Annotated[
        float | None,
        typer.Option(help="Pixel size onto which to bring the assets of a STAC item, where they differ in it; all by default."),
    ] = None,
    srf: Annotated[str, typer.Option(help="auto (estimated), a sensor such as Sentinel-2A, or a CSV file.")] = "auto",
    mask: MaskFile = None,
    masked: Masked = "nodata",
    tile: Annotated[str, typer.Option(help="Fine pixels along each side of a tile, or auto.")] = "auto",
    device: Device = "auto",
    scheduler: Annotated[str, typer.Option(help=SCHEDULERS)] = "threads",
    memory_limit: Annotated[str, typer.Option(help="Memory that the run may use (at an address: each worker); decides the tiles.")] = "8GB",
    dtype: Annotated[str, typer.Option(help="int16 (scale 0.0001) or float32.")] = "int16",
    report: Annotated[list[Path] | None, typer.Option(help="Write the report: a .json or .html file; may be given twice.")] = None,
    stac: Annotated[bool, typer.Option(help="Write a STAC item beside the output.")] = True,
    datetime: Annotated[
        str | None,
        typer.Option(help="When the scene was acquired, for the STAC item: ISO 8601, or start/end. By default what the inputs say."),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Write standard deviations too, as OUT_uncertainty.tif or .zarr.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="Apply this model instead of fitting one: a file of --save-model, or of Model.save in Python.")
    ] = None,
    save_model: Annotated[Path | None, typer.Option(help="Write the model too, as .safetensors.")] = None,
    seed: Seed = 0,
    train_seconds: TrainSeconds = None,
    register: Register = "global",
    resume: Annotated[bool, typer.Option(help="Resume an interrupted run of the same command.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run, and stop.")] = False,
    trust_input: TrustInput = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fuse two images into a Cloud-Optimized GeoTIFF, or a Zarr store, with its STAC item."""
    from geofuse.cube.sources import parse_time
    from geofuse.io.write.remote import is_remote, local_place
    from geofuse.pipeline.job import Job
    from geofuse.run.allocator import keep_freed_memory
    from geofuse.run.scheduling import scheduler_of

    if scheduler == "cuda" and device not in ("auto", "cuda"):
        raise InvalidInput(f"The scheduler cuda gives each worker a GPU of its own, and the device is {device!r}; leave --device away.")
    remote = output if is_remote(output) else None
    place = local_place(output) if remote else path_of(output)
    job = Job(
        hsi, msi, place, method=method, srf=srf, tile=tile_of(tile), device=device, memory=bytes_of(memory_limit), dtype=dtype,
        reports=tuple(map(path_of, report or ())), stac=stac, model=model and path_of(model),
        save_model=save_model and path_of(save_model), seed=seed, overwrite=overwrite, resume=resume,
        progress=not quiet, remote=remote, uncertainty=uncertainty, trust_input=trust_input, hsi_bands=hsi_bands, msi_bands=msi_bands,
        msi_resolution=msi_resolution, mask=mask, masked=masked, train_seconds=train_seconds, register=register,
        datetime=None if datetime is None else parse_time(datetime),
    )  # fmt: skip
    keep_freed_memory()
    if not plan and job.is_done():
        print(f"done already: {redact(output)} is what this very command made; --overwrite makes it again")
        job.destination.cleanup()
        return
    with scheduler_of(scheduler):
        if plan:
            print(job.plan())
            return
        _, made = job.run()
    _say(made, output)


@app.command()
def evaluate(
    hsi: Annotated[str, typer.Argument(help="Hyperspectral raster.")],
    msi: Annotated[str, typer.Argument(help="Multispectral raster.")],
    methods: Annotated[str | None, typer.Option(help="Methods to compare, separated by commas; by default all but reproductions.")] = None,
    hsi_bands: Bands = None,
    msi_bands: Bands = None,
    msi_resolution: Resolution = None,
    mask: MaskFile = None,
    register: Register = "global",
    json: Annotated[Path | None, typer.Option("--json", help="Write the table as JSON.")] = None,
    seed: Seed = 0,
    train_seconds: TrainSeconds = None,
    device: Device = "auto",
    trust_input: TrustInput = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Which method is best on this scene: Wald's protocol, one resolution step down."""
    from geofuse import api, open_hsi, open_msi
    from geofuse.reporting.plain import to_plain

    json = checked_json(json)
    chosen = None if methods is None else tuple(m.strip() for m in methods.split(",") if m.strip())
    cubes = (
        open_hsi(hsi, bands=hsi_bands, trust_input=trust_input),
        open_msi(msi, bands=msi_bands, resolution=msi_resolution, trust_input=trust_input),
    )
    table = api.evaluate(
        *cubes, methods=chosen, mask=mask, register=register, seed=seed, device=device, progress=not quiet, train_seconds=train_seconds
    )
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    if json is not None:
        write_json({row["method"]: {k: v for k, v in row.items() if k != "method"} for row in to_plain(table.to_dict("records"))}, json)


@app.command()
def methods(debug: Debug = False) -> None:
    """The methods that exist, those of installed packages included: name, what it is, whether it works in tiles, reference."""
    from geofuse.methods.registry import all_methods

    for name, method in all_methods().items():
        tiled = "whole scene" if method.cost(4.0).halo is None else "tiled"
        print(f"{name:15s} {method.role}, {tiled}: {method.summary}. {method.reference}")


@app.command()
def compare(
    fused: Annotated[str, typer.Argument(help="A fused image.")],
    truth: Annotated[str, typer.Argument(help="The truth, on the same grid.")],
    ratio: Annotated[float, typer.Option(help="Coarse over fine pixel size, for ERGAS.")] = 1.0,
    json: Annotated[Path | None, typer.Option("--json", help="Write the scores as JSON.")] = None,
    trust_input: TrustInput = False,
    debug: Debug = False,
) -> None:
    """Full-reference scores: PSNR, SAM, ERGAS, SSIM, UQI, RMSE."""
    from geofuse import api, open_hsi
    from geofuse.reporting.plain import to_plain

    json = checked_json(json)
    scores = api.compare(open_hsi(fused, trust_input=trust_input), open_hsi(truth, trust_input=trust_input), ratio=ratio)
    for name, value in scores.items():
        print(f"{name:8s} {value:.4f}")
    if json is not None:
        write_json(to_plain(scores), json)


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="A raster, or a STAC item (.json).")],
    bands: Bands = None,
    resolution: Resolution = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write it as JSON; - for standard output.")] = None,
    trust_input: TrustInput = False,
    debug: Debug = False,
) -> None:
    """What geofuse sees in a file: bands, wavelengths, grid, date, nodata."""
    from geofuse import open_msi
    from geofuse.viewing.describe import describe, facts

    json = checked_json(json)
    cube = open_msi(file, bands=bands, resolution=resolution, trust_input=trust_input)
    if json is None or not is_stdout(json):
        print(describe(cube, redact(file)))
    if json is not None:
        write_json(facts(cube), json)


@app.command()
def doctor(
    hsi: Annotated[str, typer.Argument(help="Hyperspectral raster.")],
    msi: Annotated[str, typer.Argument(help="Multispectral raster.")],
    hsi_bands: Bands = None,
    msi_bands: Bands = None,
    msi_resolution: Resolution = None,
    mask: MaskFile = None,
    sample: Annotated[bool, typer.Option(help="Fit the estimator to a sample of the pixels, too.")] = True,
    json: Annotated[Path | None, typer.Option("--json", help="Write the findings as JSON; - for standard output.")] = None,
    trust_input: TrustInput = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What would stop or weaken a fusion of two images, in order of weight, with the fix for each; exit status 2 where something stops it."""
    from geofuse import api

    json = checked_json(json)
    found = api.doctor(
        hsi, msi, mask=mask, sample=sample, hsi_bands=hsi_bands, msi_bands=msi_bands, msi_resolution=msi_resolution,
        trust_input=trust_input, progress=not quiet,
    )  # fmt: skip
    if json is None or not is_stdout(json):
        print(found)
    if json is not None:
        write_json(found.to_dict(), json)
    if found.stops:
        raise typer.Exit(REJECTED)


@app.command()
def view(
    fused: Annotated[str, typer.Argument(help="A fused image, or any raster that geofuse reads.")],
    hsi: Annotated[str | None, typer.Option(help="The hyperspectral image that it was made from.")] = None,
    msi: Annotated[str | None, typer.Option(help="The multispectral image that it was made from.")] = None,
    uncertainty: Annotated[str | None, typer.Option(help="Its standard deviations; by default FUSED_uncertainty beside it.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; by default 8765, or any that is free.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    trust_input: TrustInput = False,
    debug: Debug = False,
) -> None:
    """Look at a fused image in a browser, beside the images that it was made from; Ctrl-C ends it."""
    from geofuse.viewing.server.show import view as start

    viewer = start(fused, hsi=hsi, msi=msi, uncertainty=uncertainty, port=port, trust_input=trust_input)
    print(f"viewer: {viewer.url} (Ctrl-C ends it)", flush=True)
    if browser:
        webbrowser.open(viewer.url)
    viewer.wait()


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("demo"),
    method: Annotated[str, typer.Option(help="As for fuse.")] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fuse the embedded scene, end to end, with pictures."""
    from geofuse.demo import run_demo

    paths, made = run_demo(path_of(output), method=method, progress=not quiet)
    _say(made, paths["cog"])
    for kind, path in paths.items():
        print(f"  {kind:12s} {path}")


def _say(report: Any, output: str | Path) -> None:
    for sentence in report.sentences():
        print(sentence)
    for warning in report.warnings():
        print(f"warning: {warning['message']} [{warning['code']}]", file=sys.stderr)
    print(f"written: {redact(str(output))}")
