"""Start the viewer: for a person at a terminal, and in a notebook."""

from __future__ import annotations

import html
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from geofuse.errors import InvalidInput, RunError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from geofuse.viewing.server.scene import Image

HOST, PORT = "127.0.0.1", 8765
_START_SECONDS = 20.0


class View:
    """A viewer that runs in the background, until `close` is called or Python ends. In a notebook it shows itself.

    Attributes
    ----------
    url : str
        Where it is, on this machine.
    """

    def __init__(self, app: Starlette, port: int | None, on_close: Callable[[], None], height: int = 720) -> None:
        import uvicorn

        listening = _listen(port)
        self.url = f"http://{HOST}:{listening.getsockname()[1]}/"
        self.height = height
        self._on_close: Callable[[], None] | None = on_close
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", server_header=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, name="geofuse-view", daemon=True)
        self._thread.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self._server.should_exit = True
            listening.close()
            raise

    def _wait_until_ready(self) -> None:
        for _ in range(int(_START_SECONDS / 0.02)):
            if self._server.started:
                return
            self._thread.join(0.02)
            if not self._thread.is_alive():
                break
        raise RunError(f"The viewer did not start at {self.url}; choose another port (port=…, --port).")

    def wait(self) -> None:
        """Wait until the viewer ends; an interrupt ends it."""
        try:
            while self._thread.is_alive():
                self._thread.join(1.0)
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the viewer and close its files."""
        self._server.should_exit = True
        self._thread.join()
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<geofuse viewer at {self.url}>"

    def _repr_html_(self) -> str:
        return f'<iframe src="{html.escape(self.url)}" title="geofuse viewer" width="100%" height="{self.height:d}" style="border: 0"></iframe>'


def view(
    fused: Image,
    *,
    hsi: Image | None = None,
    msi: Image | None = None,
    uncertainty: Image | None = None,
    port: int | None = None,
    height: int = 720,
    trust_input: bool = False,
) -> View:
    """Look at a fused image in a browser, beside the images that it was made from.

    The server listens on 127.0.0.1, reads only what is named here, and writes nothing. See ``docs/how-to/view.md``.

    Parameters
    ----------
    fused : str, path, DataArray or Dataset
        A written image, or one in memory; its quality layer and standard deviations are taken from beside it.
    hsi, msi : str, path or DataArray, optional
        The images that it was made from, whatever `open_hsi` and `open_msi` read.
    uncertainty : str, path or DataArray, optional
        Standard deviations on the grid of the fused image, reflectance.
    port : int, optional
        Where to listen; by default 8765, or any free port where that is taken.
    height : int
        Of the frame in a notebook, pixels.
    trust_input : bool
        As for `open_hsi`.

    Returns
    -------
    View
        With ``url`` and ``close()``; a notebook shows it.

    Raises
    ------
    InvalidInput
        An image cannot be opened, does not belong to the fused one, or is not computed yet: write that first (`to_cog`). Or the port is taken,
        or the extra ``view`` is not installed.

    Examples
    --------
    >>> from geofuse import demo_data
    >>> with view(demo_data().hsi, msi=demo_data().msi) as viewer:
    ...     viewer.url.startswith("http://127.0.0.1:")
    True
    """
    try:
        import uvicorn  # noqa: F401 (View uses it)

        from geofuse.viewing.server.app import Viewer, make_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "geofuse":
            raise
        raise InvalidInput(f"The viewer needs the package {error.name}; install it with: pip install 'geofuse[view]'") from None
    from geofuse.viewing.server.scene import open_scene

    viewer = Viewer(open_scene(fused, hsi, msi, uncertainty, trust_input=trust_input))
    try:
        return View(make_app(viewer), port, viewer.close, height)
    except BaseException:
        viewer.close()
        raise


def _listen(port: int | None) -> socket.socket:
    """A socket on this machine alone."""
    if port is not None and not 0 <= port <= 65535:
        raise InvalidInput(f"The port is {port}; expected a number up to 65535, or 0 for any that is free.")
    for candidate in (PORT, 0) if port is None else (port,):
        listening = socket.socket()
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, candidate))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            reason = error.strerror
    raise InvalidInput(f"Nothing can listen at {HOST}:{candidate} ({reason}); choose another port (port=…, --port).")
