"""What to do about each warning, and how much it weighs; `docs/reference/warnings.md` says the same."""

from __future__ import annotations

from typing import Literal, NamedTuple

Weight = Literal["stops", "weakens", "note"]
WEIGHTS: tuple[Weight, ...] = ("stops", "weakens", "note")


class Advice(NamedTuple):
    """How much a warning weighs, and what to do."""

    weight: Weight
    do: str


ADVICE = {
    "hsi-not-reflectance": Advice("weakens", "multiply the image by its scale before fusing"),
    "msi-not-reflectance": Advice("weakens", "multiply the image by its scale before fusing"),
    "empty-bands": Advice("note", "nothing: of the HSI they are nodata in the result, of the MSI they are left out"),
    "band-gaps": Advice("note", "nothing: they are nodata there, the other bands are not"),
    "impossible-values": Advice("note", "declare the nodata value if they stand for missing pixels"),
    "outliers": Advice("note", "nothing: they count as nodata; look at where they lie"),
    "geometry-at-limit": Advice("weakens", "check the georeference of both images"),
    "elongated-psf": Advice("note", "nothing: it is used"),
    "geometry-replaced": Advice("weakens", "use the one in the message"),
    "geometric-contradiction": Advice(
        "weakens", "suspect a PSF that is not Gaussian, or a registration that varies over the scene: fuse parts of it"
    ),
    "contradiction": Advice("weakens", "check dates and processing of both images"),
    "only-one-image": Advice("weakens", "mask it, or rely on it less"),
    "gain-or-offset": Advice(
        "note", "nothing: it is corrected; check the calibration and the atmospheric correction of both if it surprises you"
    ),
    "response-unlike": Advice("weakens", "check the order of the MSI's bands, or use `--srf auto`"),
    "response-elsewhere": Advice("weakens", "check the order and the wavelengths of the MSI's bands"),
    "few-msi-bands": Advice("weakens", "know that the result leans on the HSI"),
    "few-coarse-pixels": Advice("weakens", "fuse a larger scene"),
    "striped-hsi": Advice("weakens", "destripe it: stripes are taken for noise, and remain"),
    "noisy-bands": Advice("note", "rely on them less: they are mostly predicted from the other bands"),
    "clipped": Advice("note", "write floats: `--dtype float32`"),
    "network-not-confirmed": Advice("note", "nothing: the result is that of `gem`, which takes a minute less"),
    "training-cut-short": Advice("note", "give it more: `--train-seconds`; the same seed then gives the same result"),
    "network-not-converged": Advice("weakens", "compare with it only; train it for longer on a GPU"),
    "not-reflectance": Advice("weakens", "multiply the image by its scale before fusing"),
    "scale-undeclared": Advice("weakens", "write the scale into the file, e.g. with `gdal_edit.py -scale 0.0001`, if it is right"),
    "no-wavelengths": Advice("weakens", "add a `wavelength` tag (nm) to each band"),
    "bands-beyond": Advice(
        "note", "nothing: of reflected light they are used for detail and not for spectra, of emitted light they are left out"
    ),
    "no-local-field": Advice("note", "nothing: one shift is estimated"),
    "constant-bands": Advice("note", "nothing: they are left out, or nodata"),
    "no-fwhm": Advice("note", "nothing: widths are taken from the distances of the bands; add `fwhm` tags (nm) if you can"),
    "msi-no-wavelengths": Advice("note", "nothing: where its bands respond is estimated; add `wavelength` tags (nm) if you can"),
    "no-mask": Advice("note", "give a mask with `--mask` if there are clouds; what only one image shows is looked for, but less reliably"),
    "no-date": Advice("note", "compare the dates yourself; `--datetime` says it for the STAC item"),
    "dates-apart": Advice("weakens", "look for a pair closer in time: what changed meanwhile is left out, or is wrong"),
    "small-overlap": Advice("note", "nothing: the result covers the overlap"),
    "large-shift": Advice("weakens", "check the georeference of both; if it varies over the scene, use `--register local`"),
    "memory": Advice("weakens", "give the run less: `--memory-limit`"),
    "other": Advice("note", "read its message"),
    "baseline-scored-best": Advice("note", "consider using it"),
}


def advice_of(code: str) -> Advice:
    """What to do about a warning; of an unknown code what its message says."""
    return ADVICE.get(code, Advice("weakens", ""))
