"""How Sphinx builds the documentation: MyST pages, furo's looks, a reference out of sources and stubs."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "python")]  # the second is where bases of classes are found

import figures  # noqa: E402 - lies beside this file

cargo = tomllib.loads((DOCS.parent / "Cargo.toml").read_text(encoding="utf-8"))
for name, text in figures.drawn().items():
    if (DOCS / "figures" / name).read_text(encoding="utf-8") != text:
        raise SystemExit(f"docs/figures/{name} is not what docs/figures.py draws: run it")

project = "ndarena"
release = version = cargo["package"]["version"]
project_copyright = "the authors of ndarena"
extensions = ["myst_parser", "autoapi.extension"]

# Stubs come before sources: the docstrings of the extension live there.
autoapi_dirs = ["../python/ndarena"]
autoapi_file_patterns = ["*.pyi", "*.py"]
autoapi_generate_api_docs = False
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "show-inheritance", "imported-members"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
python_maximum_signature_line_length = 100
default_role = "py:obj"
add_module_names = False
suppress_warnings = ["ref.python"]  # a word in backticks, such as `dtype`, may name many things

html_theme = "furo"
html_title = f"ndarena {release}"
html_show_copyright = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3


def read_sections(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Read NumPy's sections; the line of a property is a sentence, whose colon announces no type."""
    if what not in {"property", "attribute", "data"}:
        lines[:] = NumpyDocstring(lines, what=what).lines()


def drop_inherited_makers(app: Sphinx) -> None:
    """Do not show how `enum.Enum` and the like are made as if it were how their subclasses are."""
    for thing in app.env.autoapi_all_objects.values():
        if thing.type == "class":
            thing.children = [c for c in thing.children if c.short_name != "__init__" or not c.inherited]


def find_at_the_door(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element
) -> nodes.reference | None:
    """Find what the sources name by its file, such as ``ndarena.policies.Validity``, where users do."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"ndarena.{name}", node, text
    )


def setup(app: Sphinx) -> None:
    """Connect the three."""
    app.connect("builder-inited", drop_inherited_makers, priority=900)  # after the sources were read
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("missing-reference", find_at_the_door)
