from __future__ import annotations

import pytest
import torch

from benchmarks.gpu import HEAD, main, peak


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="no GPU"):
        main([])


def test_peak_counts_a_product() -> None:
    assert 1e8 < peak("cpu", 256) < 1e13


@pytest.mark.slow
def test_the_table_is_made_on_a_processor_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--device", "cpu", "--tiles", "128", "--bands", "20", "--method", "sylvester"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == HEAD
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert len(cells) == HEAD.count("|") - 1
    assert (cells[0], cells[-1]) == ("128", "0.0e+00")
    assert 0 < float(cells[3].rstrip("%")) < 100
