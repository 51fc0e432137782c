"""The command that makes a result again: only what is not the default, fit for a shell, without credentials."""

from __future__ import annotations

import datetime as dt
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pystac
import pytest
import typer.main
import xarray as xr

import geofuse
from geofuse.cli import app
from geofuse.pipeline.command import _OPTIONS, call_of, command_of
from geofuse.pipeline.job import Job

PLAIN = Job("a b.tif", "fine.tif", Path("out.tif"))


def test_defaults_are_not_said_and_names_are_quoted() -> None:
    assert shlex.split(command_of(PLAIN) or "") == ["geofuse", "fuse", "a b.tif", "fine.tif", "-o", "out.tif"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "gem"}, ["--method", "gem"]),
        ({"uncertainty": True}, ["--uncertainty"]),
        ({"seed": 7}, ["--seed", "7"]),
        ({"msi_resolution": 20.0}, ["--msi-resolution", "20.0"]),
        ({"stac": False}, ["--no-stac"]),
        ({"memory": 4 * 10**9}, ["--memory-limit", "4000000000B"]),
        ({"reports": (Path("r.html"), Path("r.json"))}, ["--report", "r.html", "--report", "r.json"]),
        ({"datetime": dt.datetime(2024, 6, 30, tzinfo=dt.UTC)}, ["--datetime", "2024-06-30T00:00:00+00:00"]),
    ],
)
def test_what_was_asked_for_is_said(changed: dict[str, Any], said: list[str]) -> None:
    assert shlex.split(command_of(replace(PLAIN, **changed)) or "")[6:] == said


def test_a_mosaic_has_no_command_and_one_item_has() -> None:
    first, second = (pystac.Item(name, None, None, dt.datetime(2024, 6, 30, tzinfo=dt.UTC), {}) for name in "ab")
    assert command_of(replace(PLAIN, msi=(first, second))) is None
    assert shlex.split(command_of(replace(PLAIN, msi=(first,))) or "")[3] == "a"


def test_every_option_is_one_of_the_command() -> None:
    command = typer.main.get_command(app).commands["fuse"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    assert set(_OPTIONS.values()) <= known


def test_credentials_are_left_out() -> None:
    job = Job("https://me:secret@host/a.tif?X-Amz-Signature=abc", "fine.tif", Path("out.tif"))
    command = command_of(job) or ""
    assert "https://host/a.tif" in command
    assert "secret" not in command
    assert "abc" not in command
    cube = xr.DataArray(0)
    cube.encoding["source"] = "https://host/a.tif?token=abc"
    assert "abc" not in call_of(geofuse.fuse, {"hsi": cube, "msi": cube})


def test_a_call_can_be_typed() -> None:
    cube = xr.DataArray(0)
    cube.encoding["source"] = "it's.tif"
    call = call_of(geofuse.fuse, {"hsi": cube, "msi": cube, "seed": 3, "method": "auto", "mask": cube})
    assert "geofuse.fuse(hsi, msi, seed=3, mask=<DataArray>)" in call
    compile(call.replace("<DataArray>", "None"), "call", "exec")
