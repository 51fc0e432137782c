"""Run the benchmark, or resume it: ``python -m benchmarks.run``, from the repository root.

Every finished case is a line of ``cases.csv`` in the output folder; a run that was interrupted or killed resumes. Tables and
pictures are drawn at the end, and by ``python -m benchmarks.table`` at any time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import environment
from benchmarks.cases import (
    BANDS,
    DEFAULT_METHODS,
    METHODS,
    NOISES,
    OPERATORS,
    RATIOS,
    REFERENCE,
    Case,
    all_cases,
    data_folder,
    quick_cases,
)
from benchmarks.cost import Costs, spelled
from benchmarks.isolate import each
from benchmarks.measure import measure
from benchmarks.results import Results, set_aside
from geofuse.errors import InvalidInput
from geofuse.progress import bar
from geofuse.simulate import DRAWN, SCENES

QUICK_OUT = environment.ROOT / "bench-quick"
QUICK_MINUTES = 2.4


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 0, 2 (rejected) or 130 (interrupted)."""
    options = _parser().parse_args(arguments)
    try:
        return run(options)
    except InvalidInput as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Every finished case is kept; run the same command to resume.", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Measure what is missing, then draw tables and pictures."""
    begin = time.monotonic()
    cases = chosen_cases(options)
    folder = data_folder(case.scene for case in cases)
    out = options.out or (QUICK_OUT if options.quick else environment.OUT)
    minutes = options.minutes or (QUICK_MINUTES if options.quick else float("inf"))
    if options.fresh and not options.plan and (old := set_aside(out / "cases.csv")):
        print(f"The earlier results are now {old}.")
    results, code = Results(out / "cases.csv"), environment.code_version()
    done = set() if options.fresh else results.finished(code, failed=not options.retry_failed)
    missing = [case for case in cases if case not in done]
    costs = Costs.of(results.rows())
    print(_outlook(cases, missing, costs, options.jobs, minutes))
    if options.plan:
        return 0
    provenance = {"code": code, "commit": environment.commit()}
    provenance["environment"] = environment.remember(environment.environment(options.device, options.jobs), out / "environment.json")
    deadline = begin + 60 * minutes
    with bar(len(missing), desc="benchmark", unit="case", enabled=not options.quiet) as progress:
        fitting = _while_time_lasts(missing, costs, deadline)
        for case, found in each(fitting, partial(measure, folder=folder), jobs=options.jobs, deadline=deadline):
            results.append(case, found | provenance | {"finished": datetime.now(UTC).isoformat(timespec="seconds")})
            if found.get("case_s"):
                costs.add(case, found["case_s"])
            progress.set_postfix_str(f"{case.scene} {case.method}: {found.get('error') or format(found['psnr_db'], '.2f') + ' dB'}"[:70])
            progress.update()
    return _finish(cases, results, code, out, time.monotonic() - begin)


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """The cases that the options ask for."""
    for method in options.methods:
        if method not in (*METHODS, REFERENCE):
            raise InvalidInput(f"There is no method {method!r}; expected some of {', '.join(METHODS)}.")
    if options.quick:
        return quick_cases(options.methods, options.device)
    return all_cases(
        scenes=options.scenes,
        ratios=options.ratios,
        responses=options.responses,
        noises=options.noise,
        operators=options.operators,
        methods=options.methods,
        seeds=options.seeds,
        device=options.device,
    )


def _while_time_lasts(cases: list[Case], costs: Costs, deadline: float) -> Iterator[Case]:
    """Cases that will be done before the deadline, as far as is known when their turn comes."""
    for case in cases:
        if time.monotonic() + costs(case) <= deadline:
            yield case


def _outlook(cases: list[Case], missing: list[Case], costs: Costs, jobs: int, minutes: float) -> str:
    seconds = sum(map(costs, missing)) / jobs
    limit = f"; what does not fit into {minutes:g} min is left out" if minutes < float("inf") else ""
    return f"{len(cases)} cases, {len(cases) - len(missing)} of them measured; about {spelled(seconds)} for the others{limit}."


def _finish(cases: list[Case], results: Results, code: str, out: Path, seconds: float) -> int:
    from benchmarks.table import write_all  # matplotlib and pandas are needed at the end only

    found = {Case.of(row): row["error"] for row in results.rows() if row["code"] == code}
    absent = [case for case in cases if case not in found]
    failed = [case for case in cases if found.get(case, "").startswith("failed")]
    if found:
        write_all(out)
    print(f"{len(cases) - len(absent)} of {len(cases)} cases are measured, after {spelled(seconds)} of this run: see {out}.")
    if absent:
        print(f"Left out for want of time: {len(absent)}, such as {absent[0]}.")
    for case in failed[:10]:
        print(f"Failed: {case}: {found[case]}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def several(name: str, default: Sequence[str], allowed: Sequence[str] | None = None) -> None:
        def parse(text: str) -> list[str]:
            values = text.split(",")
            if allowed is not None and (strange := [v for v in values if v not in allowed]):
                raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of {', '.join(allowed)}")
            return values

        parser.add_argument(f"--{name}", type=parse, default=list(default), metavar="A,B,…", help=f"default: {','.join(default)}")

    several("methods", DEFAULT_METHODS)
    several("scenes", tuple(SCENES), (*SCENES, *DRAWN))
    several("responses", tuple(BANDS), tuple(BANDS))
    several("noise", NOISES, NOISES)
    several("operators", OPERATORS, OPERATORS)
    ratios = ",".join(map(str, RATIOS))
    parser.add_argument(
        "--ratios", type=lambda t: [int(v) for v in t.split(",")], default=list(RATIOS), metavar="A,B,…", help=f"default: {ratios}"
    )
    parser.add_argument("--seeds", type=int, default=3, help="noise realisations and method seeds (default: 3)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, each with its share of the cores (default: 1)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: docs/benchmarks; bench-quick with --quick)")
    parser.add_argument("--minutes", type=float, help="leave out cases that do not fit into so many minutes")
    parser.add_argument("--quick", action="store_true", help="one scene, one seed, under three minutes")
    parser.add_argument("--fresh", action="store_true", help="start anew; the old results are renamed to cases.csv.old")
    parser.add_argument("--retry-failed", action="store_true", help="measure again what failed or was rejected")
    parser.add_argument("--plan", action="store_true", help="say how much there is to do, and stop")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    sys.exit(main())
