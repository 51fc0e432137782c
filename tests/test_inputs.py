"""Runs whose inputs change under them, runs that are asked for twice, and inputs whose addresses hold credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofuse import api, open_msi
from geofuse.cli import main
from geofuse.errors import InvalidOutput, RunError
from geofuse.io.read.fingerprint import content_stamp, fingerprint
from geofuse.pipeline import apply
from geofuse.pipeline.job import Job
from tests.crops import small_files, small_model, small_pair
from tests.io.read.test_open import numbers, write_envi


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model("sylvester").save(tmp_path_factory.mktemp("model") / "m.safetensors")


def copies(folder: Path) -> tuple[Path, Path]:
    hsi, msi = small_pair()
    return hsi.write(folder / "hsi.tif"), msi.write(folder / "msi.tif")


def job(folder: Path, model: Path, **options: Any) -> Job:
    hsi, msi = options.pop("files", None) or copies(folder)
    return Job(str(hsi), str(msi), folder / "out.tif", **({"model": model, "tile": 70, "progress": False} | options))


def swapped(path: Path) -> Callable[[], None]:
    """Lets another image take the place of a file, by a rename, which keeps the size."""
    other = path.with_name("other.tif")
    small_pair()[path.stem == "msi"].mapped(lambda values: values + 0.05).write(other)
    return lambda: os.replace(other, path)


class TestReplaced:
    def failed(self, made: Job, said: str) -> None:
        with pytest.raises(RunError, match=said):
            made.run()
        left = sorted(path.name for path in made.output.parent.iterdir())
        assert [name for name in left if "out" in name] == []

    @pytest.mark.parametrize("which", ["hsi", "msi"])
    def test_before_the_tiles(self, which: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made, swap, genuine = job(tmp_path, model), swapped(tmp_path / f"{which}.tif"), apply.flagged
        monkeypatch.setattr("geofuse.pipeline.apply.flagged", lambda *a, **k: (swap(), genuine(*a, **k))[1])
        self.failed(made, rf"{which}\.tif was replaced or changed while it was in use")

    def test_after_the_tiles(self, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made, swap = job(tmp_path, model), swapped(tmp_path / "msi.tif")
        monkeypatch.setattr("geofuse.pipeline.job.stage_tiles", _then(swap))
        self.failed(made, r"input was replaced or changed during the run: msi modified was .*msi content was .*nothing is kept")

    def test_the_model(self, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "m.safetensors"
        own.write_bytes(model.read_bytes())
        monkeypatch.setattr("geofuse.pipeline.job.stage_tiles", _then(lambda: own.write_bytes(model.read_bytes() + b" ")))
        self.failed(job(tmp_path, own), "during the run: model was")

    def test_what_was_computed_before_is_not_resumed_into(self, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made, swap = job(tmp_path, model), swapped(tmp_path / "msi.tif")
        with monkeypatch.context() as patch:
            patch.setattr("geofuse.io.write.engine.StagedRaster.finish", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                made.run()
        swap()
        with pytest.raises(InvalidOutput, match=r"unfinished run .* msi modified was"):
            made.run()

    def test_a_cube_in_python(self, tmp_path: Path) -> None:
        """Whatever computes it: every read checks it."""
        _, msi = copies(tmp_path)
        cube, swap = open_msi(msi), swapped(msi)
        swap()
        with pytest.raises(RunError, match="was replaced or changed"):
            cube.compute()
        assert open_msi(msi).compute().notnull().any()


def _then(act: Callable[[], Any]) -> Any:
    from geofuse.io.write.engine import stage_tiles

    def staged(*arguments: Any, **options: Any) -> Any:
        made = stage_tiles(*arguments, **options)
        act()
        return made

    return staged


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


class TestFingerprint:
    def test_an_envi_file_by_either_of_its_names(self, tmp_path: Path) -> None:
        data = write_envi(tmp_path / "a.bsq", numbers(), reflectance_scale_factor="10000")
        header = tmp_path / "a.hdr"
        before = fingerprint(data), fingerprint(header), content_stamp(data)
        header.write_text(header.read_text() + "description = {other}\n")
        assert all(then["hdr"] != now["hdr"] for then, now in zip(before[:2], (fingerprint(data), fingerprint(header)), strict=True))
        assert content_stamp(data) != before[2]
        data.write_bytes(data.read_bytes()[::-1])
        assert fingerprint(header)["content"] != before[1]["content"]

    def test_a_copy_has_the_same_stamp(self, tmp_path: Path) -> None:
        first = tmp_path / "a.tif"
        first.write_bytes(b"1" * 100)
        second = tmp_path / "b.tif"
        second.write_bytes(b"1" * 100)
        assert content_stamp(first) == content_stamp(second) != None  # noqa: E711
        assert content_stamp("https://host/a.tif") is None

    def test_an_address_leaves_no_credentials(self) -> None:
        one, other = (fingerprint(f"https://me:{word}@host/a.tif?token={word}") for word in ("secret", "other"))
        assert one["path"] == "https://host/a.tif"
        assert "secret" not in json.dumps(one)
        assert one != other


class TestTheSameCommandAgain:
    def command(self, folder: Path, model: Path, *options: str) -> list[str]:
        return [
            "fuse",
            str(folder / "hsi.tif"),
            str(folder / "msi.tif"),
            "-o",
            str(folder / "out.tif"),
            "--model",
            str(model),
            "-q",
            *options,
        ]

    def status(self, arguments: list[str]) -> int:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return int(end.value.code or 0)

    def test_says_that_it_is_done(self, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, msi = copies(tmp_path)
        first = self.command(tmp_path, model)
        assert self.status(first) == 0
        before = (tmp_path / "out.tif").stat()
        capsys.readouterr()
        assert self.status(first) == 0
        assert "done already" in capsys.readouterr().out
        assert (tmp_path / "out.tif").stat() == before
        for other in (["--seed", "3"], ["--dtype", "float32"], ["--report", str(tmp_path / "r.json")]):
            assert self.status(first + other) == 2
            assert "exists; give another name" in capsys.readouterr().err
        (tmp_path / "out.json").unlink()  # not all is there
        assert self.status(first) == 2
        assert self.status([*first, "--no-stac"]) == 0
        os.utime(msi)  # another input, for all that is known
        assert self.status([*first, "--no-stac"]) == 2
        assert self.status([*first, "--overwrite"]) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hsi.tif", "msi.tif", "out.json", "out.tif", "out_quality.tif"]

    def test_a_file_that_was_cut_since_is_not_done(self, tmp_path: Path, model: Path) -> None:
        made = job(tmp_path, model)
        made.run()
        assert made.is_done()
        assert not replace(made, overwrite=True).is_done()
        made.output.write_bytes(made.output.read_bytes()[:-100])
        assert not made.is_done()

    def test_a_store(self, tmp_path: Path, model: Path) -> None:
        made = replace(job(tmp_path, model), output=tmp_path / "out.zarr")
        made.run()
        assert made.is_done()
        assert not replace(made, seed=1).is_done()

    @pytest.mark.slow
    def test_with_standard_deviations(self, tmp_path: Path) -> None:
        own = api.fit(*map(open_msi, small_files()), method="sylvester", uncertainty=True, progress=False).save(tmp_path / "m.safetensors")
        made = job(tmp_path, own, uncertainty=True)
        made.run()
        assert made.is_done()
        made.uncertainty_path.unlink()
        assert not made.is_done()


def test_no_credentials_in_what_is_published(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the run writes, the journal too; the inputs are opened from here, under the names that they were given."""
    address = "https://me:SECRET@host.example/msi.tif?token=SECRET&X-Amz-Signature=SECRET"
    hsi, msi = copies(tmp_path)
    made = job(tmp_path, model, files=(hsi, address), reports=(tmp_path / "r.json", tmp_path / "r.html"))
    monkeypatch.setattr("geofuse.pipeline.job.open_msi", lambda path, **options: open_msi(msi, **options))
    journals: list[str] = []
    genuine = Job._check_unchanged

    def peeking(self: Job, *arguments: Any) -> None:
        journals.append((tmp_path / ".out.tif.geofuse" / "journal.jsonl").read_text())
        genuine(self, *arguments)

    monkeypatch.setattr(Job, "_check_unchanged", peeking)
    made.run()
    assert "https://host.example/msi.tif" in journals[0]
    texts = journals + [(tmp_path / name).read_text() for name in ("r.json", "r.html", "out.json")]
    assert json.loads(texts[1])["inputs"]["msi"] == "https://host.example/msi.tif"
    assert not any("SECRET" in text for text in texts)
    assert b"SECRET" not in (tmp_path / "out.tif").read_bytes()


def test_no_credentials_in_messages(capsys: pytest.CaptureFixture[str]) -> None:
    address = "http://me:SECRET@127.0.0.1:9/a.tif?sig=SECRET"
    for options in ([], ["--debug"]):
        with pytest.raises(SystemExit):
            main(["info", address, *options])
        said = capsys.readouterr().err
        assert "http://127.0.0.1:9/a.tif" in said
        assert "SECRET" not in said


def test_pixels_are_those_of_the_first_image(tmp_path: Path) -> None:
    """A file that is written again with the same content is the same file."""
    _, msi = copies(tmp_path)
    cube = open_msi(msi)
    msi.write_bytes(msi.read_bytes())
    assert np.isfinite(cube.values).any()
