"""Methods by name: those of geofuse, and those that installed packages declare."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

import geofuse
from geofuse.cli import main
from geofuse.errors import InvalidInput
from geofuse.methods import registry
from geofuse.methods.base import EVERYTHING, Arrays, CalibratesErrors, Cost, FusionMethod, Inner, Role, Tick, Values
from geofuse.methods.registry import GROUP, STANDARD, check_method, check_name, get_method, method_names
from geofuse.pair.images import as_like
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair, Settings
from tests.crops import few_cubes

OWN = {"gem", "mossfuse", "mossfuse-paper", "sylvester", "hysure", "cnmf", "gsa", "regression", "mlp", "bicubic"}
Declare = Callable[..., None]


class FittedMean:
    """The mean spectrum of the HSI, everywhere."""

    halo = 0

    def __init__(self, spectrum: np.ndarray, gain: float) -> None:
        self.spectrum, self.gain = spectrum, gain

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        spectrum = self.gain * as_like(self.spectrum, patch.msi)
        return spectrum[:, None, None].expand(-1, *patch.msi.shape[1:])[:, *inner].clone()

    def state(self) -> tuple[Arrays, Values]:
        return {"spectrum": self.spectrum}, {"gain": self.gain}


class Mean:
    """A method as another package might write it."""

    name = "mean"
    summary = "the mean spectrum everywhere"
    reference = "none"
    role: Role = "baseline"
    quick = False

    def cost(self, ratio: float) -> Cost:
        return Cost(0)

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedMean:
        return FittedMean(prepared.patches[0].hsi[:, prepared.patches[0].hsi_valid].mean(1).numpy(), 0.5)

    def restore(self, arrays: Arrays, values: Values) -> FittedMean:
        return FittedMean(arrays["spectrum"], values["gain"])


MEAN: FusionMethod = Mean()


def _forget() -> None:
    registry._plug_ins.cache_clear()
    registry.get_method.cache_clear()


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Make as if packages with these entry points were installed."""

    def declared(**entries: str) -> None:
        found = [EntryPoint(name.replace("_", "-"), value, GROUP) for name, value in entries.items()]
        monkeypatch.setattr(registry, "entry_points", lambda *, group: found if group == GROUP else [])
        _forget()

    yield declared
    _forget()


def test_names_are_known_and_each_is_that_of_its_method() -> None:
    assert set(method_names()) >= OWN
    for name in OWN:
        method = get_method(name)
        assert method.name == name
        assert method.summary
        assert method.reference
        assert method.role in ("estimator", "baseline", "reproduction")
        cost = method.cost(25 / 3)
        assert cost.images > 0
        assert cost.seconds > 0
    assert get_method(STANDARD).role == "estimator"


def test_names_cost_no_import() -> None:
    code = (
        "import sys; from geofuse.methods.registry import method_names; assert 'gem' in method_names(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_none_is_rejected_with_those_that_are() -> None:
    for check in (check_name, check_method, get_method):
        with pytest.raises(InvalidInput, match=r"no method 'gme'; expected one of auto, gem, .*bicubic"):
            check("gme")
    check_method("auto")
    with pytest.raises(InvalidInput, match="no method 'auto'"):
        check_name("auto")


def test_uncertainty_is_of_methods_that_know_their_errors() -> None:
    able = {name for name in OWN if isinstance(get_method(name), CalibratesErrors)}
    assert able == {"gem", "mossfuse", "sylvester"}
    for name in able | {"auto"}:
        check_method(name, uncertainty=True)
    with pytest.raises(
        InvalidInput, match=r"'gsa' does not estimate its errors; expected one of auto, gem, mossfuse, sylvester with uncertainty"
    ):
        check_method("gsa", uncertainty=True)


@pytest.mark.parametrize("value", [f"{__name__}:MEAN", f"{__name__}:Mean"])
def test_a_method_of_another_package_is_one_like_the_others(
    value: str, declare: Declare, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By an object or a class: listed, fused with, evaluated, and restored from a file."""
    declare(mean=value)
    assert method_names()[-1] == "mean"
    assert isinstance(get_method("mean"), Mean)
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert not ended.value.code
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mean "))
    assert Mean.summary in line
    hsi, msi = few_cubes()
    model = geofuse.fit(hsi, msi, method="mean", progress=False)
    fused = geofuse.fuse(hsi, msi, model=model, progress=False)
    assert float(fused.std(("y", "x")).max()) < 1e-6
    again = geofuse.Model.load(model.save(tmp_path / "m.safetensors"))
    assert np.array_equal(geofuse.fuse(hsi, msi, model=again, progress=False), fused, equal_nan=True)
    table = geofuse.evaluate(hsi, msi, methods=("mean", "bicubic"), progress=False).set_index("method")
    assert table.loc["bicubic", "psnr_db"] > table.loc["mean", "psnr_db"]


@pytest.mark.parametrize("name", ["gem", "auto"])
def test_a_name_that_is_taken_stays_what_it_was(name: str, declare: Declare) -> None:
    declare(**{name: f"{__name__}:MEAN"})
    with pytest.warns(UserWarning, match=f"The method '{name}' of {__name__}:MEAN is left out"):
        names = method_names()
    assert names.count("gem") == 1
    assert get_method("gem").name == "gem"


@pytest.mark.parametrize("value", ["geofuse_no_such_package:METHOD", f"{__name__}:NOTHING"])
def test_a_broken_package_is_named_where_its_method_is_asked_for(value: str, declare: Declare) -> None:
    declare(broken=value)
    assert "broken" in method_names()
    with pytest.raises(InvalidInput, match=rf"'broken' cannot be imported from {value}: .*Repair or remove that package"):
        get_method("broken")
    assert get_method("gem").name == "gem"


def test_a_broken_package_spoils_no_command(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    """What names all methods works without it, and says so."""
    declare(broken="geofuse_no_such_package:METHOD")
    with (
        pytest.warns(UserWarning, match="'broken' cannot be imported"),
        pytest.raises(InvalidInput, match=r"auto, gem, mossfuse, sylvester with"),
    ):
        check_method("gsa", uncertainty=True)
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert {line.split()[0] for line in out.splitlines()} == OWN
    assert "'broken' cannot be imported from geofuse_no_such_package:METHOD" in err
    with pytest.warns(UserWarning, match="'broken' cannot be imported"):
        model = geofuse.fit(*few_cubes(), progress=False)
    assert {"gem", "sylvester"} < {row["method"] for row in model.report["validation"]}
