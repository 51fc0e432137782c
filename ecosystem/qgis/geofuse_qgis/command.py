"""The command line of geofuse, run from QGIS: no shell, no library of QGIS in its environment, interrupted when the user cancels."""

from __future__ import annotations

import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence

from qgis.core import QgsProcessingException, QgsProcessingFeedback, QgsSettings

SETTING = "geofuse/command"
PERCENT = re.compile(r"(\d{1,3})%")
SECONDS = 0.2  # between looks at whether the user has cancelled


def command() -> list[str]:
    """How geofuse is called: the setting, or what is on the path.

    Raises
    ------
    QgsProcessingException
        It is not there.
    """
    words = shlex.split(QgsSettings().value(SETTING, "", type=str), posix=os.name != "nt") or ["geofuse"]
    program = shutil.which(words[0])
    if program is None:
        raise QgsProcessingException(
            f"Found no program {words[0]!r}; expected geofuse, installed in an environment of its own. Put it on the path, or name it "
            f"in Settings, Options, Advanced: {SETTING}."
        )
    return [program, *words[1:]]


def run(arguments: Sequence[str], feedback: QgsProcessingFeedback) -> str:
    """Run geofuse and return what it prints on standard output; its messages and progress go to the log.

    Raises
    ------
    QgsProcessingException
        It failed, with its own message, or was cancelled.
    """
    words = [*command(), *arguments]
    feedback.pushCommandInfo(shlex.join(words))
    # QGIS points Python to its own libraries, which would be loaded instead of those of geofuse.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "PROJ_LIB")}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, encoding="utf-8")
    lines: queue.Queue[str] = queue.Queue()
    printed: list[str] = []
    readers = [
        threading.Thread(target=lambda: [lines.put(line.rstrip()) for line in process.stderr], daemon=True),
        threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True),
    ]
    for reader in readers:
        reader.start()
    messages = _follow(process, lines, readers, feedback)
    if feedback.isCanceled():
        raise QgsProcessingException("Cancelled. The same run with the same output resumes.")
    if process.returncode:
        raise QgsProcessingException("\n".join(messages[-20:]) or f"geofuse ended with exit status {process.returncode}")
    return "".join(printed)


def _follow(
    process: subprocess.Popen[str], lines: queue.Queue[str], readers: Sequence[threading.Thread], feedback: QgsProcessingFeedback
) -> list[str]:
    """Show lines until the process has ended; those that are no progress."""
    messages = []
    while process.poll() is None or not lines.empty() or any(reader.is_alive() for reader in readers):
        if feedback.isCanceled() and process.poll() is None:
            process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
            process.wait()
        try:
            line = lines.get(timeout=SECONDS)
        except queue.Empty:
            continue
        if found := PERCENT.search(line):
            feedback.setProgress(min(int(found[1]), 100))
        elif line:
            messages.append(line)
            feedback.pushConsoleInfo(line)
    return messages
