"""Where an output goes: a folder of this machine, or object storage; the writer need not know which.

Every output is made on this machine, in a hidden folder beside `Destination.target`, and appears there by one rename
(`geofuse.io.write.workspace`). For a local output that is all; one for object storage is uploaded from there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rasterio.errors import RasterioError

from geofuse.errors import GeofuseError
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.output import check_output
from geofuse.io.write.remote import check_remote, is_remote, leave, local_place, run_of_object, upload
from geofuse.io.write.workspace import folder_of, is_finished, recorded


class Destination(Protocol):
    """Where one output goes."""

    @property
    def target(self) -> Path:
        """Where the output is made on this machine, an absolute path."""

    @property
    def place(self) -> Path | str:
        """Where the output is found once it is published: an absolute path, or an address."""

    @property
    def private(self) -> bool:
        """Whether what lies at `target` was made by this run, and may be replaced."""

    @property
    def begun(self) -> bool:
        """Whether an interrupted run may have put here already what goes beside this output, before the output itself."""

    def check(self, *, overwrite: bool, resume: bool) -> bool:
        """Reject a place that cannot be written to, before anything is computed.

        Parameters
        ----------
        overwrite : bool
            Allow an existing output.
        resume : bool
            What an interrupted run published is no obstacle.

        Returns
        -------
        bool
            Whether what is there was published by an interrupted run.

        Raises
        ------
        InvalidOutput
            Something is there, or the place is missing or denied.
        """

    def exists(self, run: str) -> bool:
        """Whether an output is there that was written by this run."""

    def publish(self, sha256: str | None = None, run: str | None = None) -> None:
        """Send what has appeared at `target` to where it shall go.

        Parameters
        ----------
        sha256 : str, optional
            As `geofuse.io.read.fingerprint.content_sha256` takes it, where it is known.
        run : str, optional
            By which `exists` knows it again.

        Raises
        ------
        OSError
            It failed; nothing has appeared that is not whole.
        """

    def cleanup(self) -> None:
        """Remove what was needed on this machine only, once all is published."""

    def beside(self, path: Path, output_format: OutputFormat | None = None) -> Destination:
        """Where something goes that belongs with this output and is made beside it; ``output_format`` is that of a raster."""


@dataclass(frozen=True)
class Local:
    """A folder of this machine.

    Attributes
    ----------
    path : pathlib.Path
    format : OutputFormat or None
        None for a plain file.
    part : bool
        It belongs with another output, which says by which run both were written.
    """

    path: Path
    format: OutputFormat | None
    part: bool = False

    @property
    def target(self) -> Path:
        """The place itself."""
        return self.path.expanduser().absolute()

    @property
    def place(self) -> Path | str:
        """The place itself."""
        return self.target

    @property
    def private(self) -> bool:
        """It is a place of the user's."""
        return False

    @property
    def begun(self) -> bool:
        """Layers are written before the image that they belong to."""
        return folder_of(self.target).exists()

    def check(self, *, overwrite: bool, resume: bool) -> bool:
        """See `Destination.check`."""
        published = resume and is_finished(self.target, recorded(self.target))
        check_output(self.target, self.format, overwrite=overwrite or published)
        return published

    def exists(self, run: str) -> bool:
        """By what the output says of itself, where it is no part of another."""
        if self.part or self.format is None:
            return self.path.exists()
        with suppress(OSError, RasterioError, ValueError, LookupError, AttributeError, TypeError, GeofuseError):
            return self.format.run_of(self.path) == run
        return False

    def publish(self, sha256: str | None = None, run: str | None = None) -> None:
        """It has appeared in its place already."""

    def cleanup(self) -> None:
        """Nothing else was needed."""

    def beside(self, path: Path, output_format: OutputFormat | None = None) -> Destination:
        """See `Destination.beside`."""
        return Local(path, output_format, part=True)


@dataclass(frozen=True)
class S3:
    """Object storage; see `geofuse.io.write.remote`.

    Attributes
    ----------
    address : str
        ``s3://bucket/key``.
    path : pathlib.Path
        Where the object is made.
    format : OutputFormat or None
        None for a plain object.
    """

    address: str
    path: Path
    format: OutputFormat | None

    @property
    def target(self) -> Path:
        """Where the object is made."""
        return self.path.expanduser().absolute()

    @property
    def place(self) -> Path | str:
        """The address."""
        return self.address

    @property
    def private(self) -> bool:
        """What lies where an object is made is our own."""
        return True

    @property
    def begun(self) -> bool:
        """The image is uploaded first: who finds what belongs with it shall find the image."""
        return False

    def check(self, *, overwrite: bool, resume: bool) -> bool:
        """See `Destination.check`."""
        known = recorded(self.target) if resume else None
        published = check_remote(self.address, self.format, overwrite=overwrite, finished=known)
        check_output(self.target, self.format, overwrite=True)
        return published

    def exists(self, run: str) -> bool:
        """By what the object bears among its metadata."""
        return run_of_object(self.address, self.format) == run

    def publish(self, sha256: str | None = None, run: str | None = None) -> None:
        """See `Destination.publish`."""
        upload(self.target, self.address, self.format, sha256=sha256, run=run)

    def cleanup(self) -> None:
        """What was uploaded is not kept here."""
        leave(self.target)

    def beside(self, path: Path, output_format: OutputFormat | None = None) -> Destination:
        """See `Destination.beside`."""
        return replace(self, address=f"{self.address.rpartition('/')[0]}/{path.name}", path=path, format=output_format)


def destination_of(path: str | os.PathLike[str], output_format: OutputFormat | None, made: Path | None = None) -> Destination:
    """The destination that a path or address means.

    Parameters
    ----------
    path : str or path
    output_format : OutputFormat or None
        See `geofuse.io.write.formats.format_of`; None for a plain file.
    made : pathlib.Path, optional
        Where an object is made; by default where `geofuse.io.write.remote.local_place` says.

    Raises
    ------
    InvalidOutput
        The address has no bucket or no key.
    """
    if is_remote(path):
        return S3(str(path), made or local_place(str(path)), output_format)
    return Local(Path(path), output_format)
