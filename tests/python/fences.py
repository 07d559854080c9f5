"""Examples of a page: its Python fences, run one after the other."""

import re

import pytest

import ndarena

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REFUSED = re.compile(r"  # (?P<kind>\w+(?:Error|Warning)): (?P<message>.*)\n\Z")


def examples_of(text):
    return FENCE.findall(text)


def run(source, namespace, page="README.md"):
    """Run an example; an error or a warning that its last line names must come there, with that message."""
    refused = REFUSED.search(source)
    if refused is None:
        exec(compile(source, page, "exec"), namespace)
        return
    *head, last = source.splitlines()
    exec(compile("\n".join(head), page, "exec"), namespace)
    with pytest.raises(getattr(ndarena, refused["kind"]), match=re.escape(refused["message"])):
        exec(compile(last, page, "exec"), namespace)
