"""What the documentation shows is what happens, and nothing public is left out of it."""

import enum
import inspect
import re
import runpy
from operator import attrgetter
from pathlib import Path

import pytest
from fences import examples_of, run

import ndarena
import ndarena.nn
import ndarena.parallel

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
REFERENCE = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")}
MODULES = {name for name in ndarena.__all__ if inspect.ismodule(getattr(ndarena, name))}
DIRECTIVE = re.compile(
    r"^\.\. autoapi(?:class|exception|function|data):: ndarena\.(\w+)(\(.*\))?$", re.MULTILINE
)


def test_the_pages_are_there():
    assert set(PAGES) == {
        "index",
        "tutorial",
        "memory",
        "performance",
        "from-nd4j",
        "networks",
        "learning",
        "parallel",
        "data",
        "layers",
        "command-line",
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_one_after_the_other(page):
    examples = examples_of(PAGES[page])
    assert examples
    namespace = {"__name__": page}
    for source in examples:
        run(source, namespace, f"{page}.md")


def test_a_promised_warning_that_does_not_come_is_noticed():
    with pytest.raises(pytest.fail.Exception):
        run("1 + 1  # UnusedWorkspaceWarning: nothing of the kind\n", {})


def test_the_tutorial_begins_with_the_loop_its_picture_and_three_mistakes():
    headings = re.findall(r"^#{2,3} (.*)$", PAGES["tutorial"], re.MULTILINE)
    assert headings[:3] == ["The loop", "Its picture", "The three mistakes everybody makes"]
    assert [heading[:2] for heading in headings[3:6]] == ["1.", "2.", "3."]


def test_every_name_for_people_from_nd4j_exists():
    tables = PAGES["from-nd4j"].partition("## Where we differ")[0]
    columns = re.findall(r"^\| .*? \| (.*?) \|$", tables, re.MULTILINE)
    words = {word for column in columns for word in re.findall(r"`([A-Za-z_.0-9]+)`", column)}
    rooms = {"nn", "data", "evaluation", "parallel"}
    names = {word for word in words if word.partition(".")[0] in {*ndarena.__all__, *rooms}}
    assert len(names) > 130
    assert words - names == {"release", "ndarray", "with", "NDARENA_DEBUG"}
    for name in names:
        assert attrgetter(name)(ndarena) is not None, name


@pytest.mark.parametrize("page", PAGES)
def test_every_name_that_a_page_links_exists(page):
    for path in re.findall(r"\{py:obj\}`~?ndarena\.([\w.]+)`", PAGES[page]):
        name, _, attribute = path.partition(".")
        assert name in ndarena.__all__
        assert not attribute or hasattr(getattr(ndarena, name), attribute), path


def test_the_reference_names_everything_public_once():
    named = [name for text in REFERENCE.values() for name, _ in DIRECTIVE.findall(text)]
    assert sorted(named) == sorted(set(ndarena.__all__) - MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_reference_of_a_module_names_everything_public_once(module):
    named = re.findall(rf"^\.\. autoapi\w+:: ndarena\.{module}\.(\w+)", REFERENCE[module], re.MULTILINE)
    assert sorted(named) == sorted(getattr(ndarena, module).__all__)


def test_the_signatures_that_the_reference_writes_out_are_right():
    written = {name: given for text in REFERENCE.values() for name, given in DIRECTIVE.findall(text) if given}
    makers = {name for name in written if not issubclass(getattr(ndarena, name), enum.Enum)}
    assert makers == {"ArrayType", "LayerWorkspaceMgr", "Workspace", "WorkspaceConfiguration"}
    for name in makers - {"Workspace"}:
        assert written[name] == str(inspect.signature(getattr(ndarena, name)))
    assert written["Workspace"] == "(configuration=None, id=DEFAULT_WORKSPACE_ID)"
    assert ndarena.Workspace().id == ndarena.DEFAULT_WORKSPACE_ID
    defaults = ndarena.WorkspaceConfiguration()
    for field, parameter in inspect.signature(ndarena.WorkspaceConfiguration).parameters.items():
        value = getattr(defaults, field)
        assert parameter.default == getattr(value, "value", value)


@pytest.mark.parametrize("page", sorted(REFERENCE.keys() - {"index"}))
def test_every_page_of_the_reference_begins_with_who_owns_the_memory(page):
    assert re.match(r"# .+\n\n\*\*Who owns the memory\.\*\* \w", REFERENCE[page])
    assert re.search(rf"^{page}$", REFERENCE["index"], re.MULTILINE)


def test_the_pictures_are_drawn_by_the_script():
    drawn = runpy.run_path(str(DOCS / "figures.py"))["drawn"]()
    kept = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "figures").glob("*.svg")}
    assert drawn == kept


def test_every_picture_is_shown_for_light_and_dark_pages_and_told_in_words():
    shown = re.findall(
        r"^```\{image\} figures/(.+)-(light|dark)\.svg\n:class: only-(light|dark)\n:alt: (\S.+)\n```$",
        "\n".join(PAGES.values()),
        re.MULTILINE,
    )
    assert all(page == wanted for _, page, wanted, _ in shown)
    files = {path.name for path in (DOCS / "figures").glob("*.svg")}
    assert {f"{name}-{page}.svg" for name, page, _, _ in shown} == files
