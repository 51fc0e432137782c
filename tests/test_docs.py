"""Documents: links and options lead somewhere, the reference is that of the program, the README is short."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import geofuse

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "notebooks" / "README.md",
        ROOT / "ecosystem" / "README.md",
    ]
)
GENERATED = {DOCS / "benchmarks" / "table.md", DOCS / "benchmarks" / "scale.md"}
# Pages and options that documents name ahead of their arrival: each is taken off this list when it is there.
PAGES_TO_COME: set[str] = set()
OPTIONS_TO_COME: set[str] = set()
OF_THE_PROGRAM = {"--version", "--help", "--install-completion", "--show-completion"}
# What the glossary has other words for.
NOT_OURS = (
    "goes on where",
    "was stopped",
    "put right",
    "whom to believe",
    "peers",
    "the house",
    "lay ground",
    "forgiven",
    "told the truth",
    "refuse",
    "refusal",
    "gone on with",
    "the draft",
    "silently",
)

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: words in lower case, joined by hyphens, without markup and punctuation."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(prose(page))}


def broken(page: Path) -> Iterator[str]:
    """Relative links of a page that lead nowhere."""
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, part = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists():
            if not (found.is_relative_to(DOCS) and found.relative_to(DOCS).as_posix() in PAGES_TO_COME):
                yield target
        elif part and part not in anchors(found):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`: c, d\n[1](#a-b-c-d) [2](#nowhere) [3](gone.md) [4](page.md#a-b-c-d)\n```sh\n# no heading [5](gone.md)\n```\n`[6](gone.md)`\n"
    )
    assert list(broken(page)) == ["#nowhere", "gone.md"]


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        ahead += [
            (page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)
        ]
    assert sorted(named(page) for page in DOCS.rglob("*.md") if page not in seen) == []


@cache
def make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_program() -> None:
    stale = [named(path) for path, text in make_reference().pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python docs/make_reference.py"


def test_every_public_name_has_its_docstring_on_the_site() -> None:
    listed = set(re.findall(r"^   (\w+)$", (DOCS / "reference" / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
    public = {name for name in geofuse.__all__ if not inspect.ismodule(getattr(geofuse, name))}
    assert public - listed == set()


@cache
def options_of_commands() -> dict[str, set[str]]:
    module = make_reference()
    return {name: {s for p in command.params for s in module.spellings(p)} | {"--help"} for name, command in module.commands().items()}


def shell_lines(page: Path) -> Iterator[list[str]]:
    """Commands of a page that begin with geofuse: in blocks of shell code, and in running text."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for _, language, block in FENCE.findall(text) if language == "sh"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines() + re.findall(r"`(geofuse [^`\n]+)`", prose(page))
    for line in lines:
        words = shlex.split(line, comments=True)
        if len(words) > 1 and words[0] == "geofuse":
            yield words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_exist(page: Path) -> None:
    commands = options_of_commands()
    for words in shell_lines(page):
        if words[1].startswith("-"):
            assert words[1] in OF_THE_PROGRAM
            continue
        name = next((name for name in (words[1], " ".join(words[1:3])) if name in commands), None)
        assert name is not None, words
        used = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used - OPTIONS_TO_COME <= commands[name], words


def test_options_in_running_text_exist() -> None:
    """Options of geofuse stand in every page but those about the benchmark's own commands."""
    known = set().union(*options_of_commands().values())
    pages = [p for p in PAGES if not p.is_relative_to(DOCS / "research") and p.parent.name != "benchmarks"]
    used = {option for page in pages for option in re.findall(r"`(--[a-z-]+)", prose(page))}
    assert used - OPTIONS_TO_COME - {"--clouds"} <= known | OF_THE_PROGRAM  # of python -m benchmarks.uncertainty
    assert not OPTIONS_TO_COME & known, "they have come: take them off the list"


def test_what_was_to_come_is_taken_off_the_list() -> None:
    assert [page for page in sorted(PAGES_TO_COME) if (DOCS / page).exists()] == []


def test_the_readme_is_short_and_names_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    assert re.search(r"^make demo\b", text, re.MULTILINE)
    assert re.search(r"^make test\b", text, re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if p not in GENERATED], ids=named)
def test_one_word_for_one_thing(page: Path) -> None:
    text = " ".join(prose(page).lower().split())
    assert [words for words in NOT_OURS if words in text] == []


@pytest.mark.parametrize("row", re.findall(r"^\| \*\*.*$", prose(DOCS / "glossary.md"), re.MULTILINE), ids=lambda row: row.split("**")[1])
def test_each_term_has_a_line_and_a_reference(row: str) -> None:
    _, _, meaning, reference, _ = (cell.strip() for cell in row.split("|"))
    assert meaning
    assert reference


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_behind_figures_exist(page: Path) -> None:
    """Files of tests, modules of the benchmark and targets of make that a page names in code."""
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"\b((?:tests|notebooks)/[\w/-]+\.(?:py|md|ipynb))\b", text)
    files += [f"benchmarks/{name}.py" for name in re.findall(r"python -m benchmarks\.(\w+)", text)]
    assert [file for file in files if not (ROOT / file).exists()] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE) if name not in targets] == []


def test_every_code_of_a_warning_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "geofuse").rglob("*.py")]
    codes = {code for text in sources for code in re.findall(r"\bwarned\(\s*\"([a-z-]+)\"", text)}
    page = (DOCS / "reference" / "warnings.md").read_text(encoding="utf-8")
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    code = "\n".join(
        block for _, language, block in FENCE.findall((DOCS / "tutorial.md").read_text(encoding="utf-8")) if language == "python"
    )
    script = tmp_path / "tutorial.py"
    script.write_text(f"import matplotlib\nmatplotlib.use('agg')\n{code}", encoding="utf-8")
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True, timeout=600)
    assert {"fused.tif", "fused.json", "report.html"} <= {path.name for path in tmp_path.iterdir()}
