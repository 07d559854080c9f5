"""What the README shows is what happens."""

import re
import tomllib
from pathlib import Path

import pytest
from fences import REFUSED, examples_of, run

import ndarena

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = examples_of(README)


def test_the_examples_run_one_after_the_other():
    assert len(EXAMPLES) >= 3
    namespace = {}
    for source in EXAMPLES:
        run(source, namespace)
    assert namespace["kept"] == pytest.approx(1 - 0.9**3)  # three steps of the running mean


def test_a_promised_error_that_does_not_come_is_noticed():
    with pytest.raises(pytest.fail.Exception):
        run("1 + 1  # LeakedArrayError: nothing of the kind\n", {})


def test_the_first_example_ends_in_the_refused_use():
    first = EXAMPLES[0]
    assert len(first.splitlines()) <= 12
    assert REFUSED.search(first)["kind"] == "LeakedArrayError"


def test_it_is_a_page():
    assert len(README.splitlines()) <= 170


def test_messages_point_to_a_heading_that_exists():
    assert "\n## What dies when\n" in README
    ws = ndarena.Workspace(id="LOOP")
    with ws.notify_scope_entered():
        a = ws.ones(3)
    with pytest.raises(ndarena.LeakedArrayError, match="What dies when"):
        a[0]


def test_the_table_of_policies_is_complete():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    configuration = ndarena.WorkspaceConfiguration()
    fields = [name for name in dir(configuration) if name.startswith("policy_")] + ["huge_pages"]
    assert set(rows) == set(fields)
    for field, choices in rows.items():
        default = getattr(configuration, field)
        names = re.findall(r"`(\w+)`", choices)
        assert names[0] == default.name
        assert set(names) == {member.name for member in type(default)}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`make (\w[\w-]*)`", README))))
def test_the_commands_are_targets_of_the_makefile(command):
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_crate_is_added_by_its_name():
    crate = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["name"]
    assert f"`cargo add {crate} --path ../{crate}`" in README


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
