"""Who may import whom, and where unsafe code may stand: read out of the sources."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = ROOT / "python" / "ndarena"

# The core: a file may name those listed, and nothing else of ours. `lib` is the door.
CORE = {
    "lib": {"*"},
    # bytes, sums, words
    "error": set(),
    "layout": set(),
    "sync": set(),
    "latch": {"sync"},
    "faults": {"sync"},
    "clock": {"sync"},
    "config": {"error", "layout"},
    "holds": {"sync"},
    "fork": set(),
    "block": {"clock", "faults", "fork", "holds", "layout", "sync"},
    "mapping": {"block", "config", "error", "fork", "sync"},
    # one workspace
    "plan": set(),
    "fit": set(),
    "arena": {"plan", "fit"},
    "ring": {"clock"},
    "cycle": {"arena", "faults", "fit", "ring", "block", "holds", "clock", "config", "layout"},
    # whose, how long: a workspace knows its thread, a thread its workspaces
    "workspace": {"cycle", "arena", "registry", "thread", "array"}
    | {"block", "clock", "config", "error", "latch", "mapping", "sync"},
    "thread": {"workspace", "cycle", "block", "error", "latch", "sync"},
    "registry": {"workspace", "thread", "config", "error", "sync"},
    "array": {"workspace", "registry", "cycle", "ring", "block", "clock", "layout", "error", "sync"},
    "scope": {"array", "registry", "workspace", "config", "layout", "error"},
    # what is what in a network
    "layer_manager": {"scope", "array", "registry", "workspace", "config", "layout", "error"},
}

# The bindings: files of the core (x) and of src/python (python/x). `mod` is the list of what is exported.
WORDS = {"error", "python/error", "python/foreign", "python/npy", "python/naming", "python/order"}
ARRAYS = {"form", "handle", "holding", "numbers", "seen", "view"}
HANDLES = {f"python/{name}" for name in ARRAYS} | {"array", "registry", "workspace"}
BINDINGS = {
    "mod": {"*"},
    # words and conversions
    "error": {"error", "python/faults"},
    "config": {"config", "error", "layout", "python/error"},
    "npy": set(),
    "foreign": set(),
    "order": set(),
    "flags": set(),
    "steady": {"registry", "python/foreign", "python/npy"},
    "slot": set(),
    "numbers": {"python/npy"},
    "object": {"python/foreign", "python/shortcut"},
    "shortcut": set(),
    "naming": {"python/npy"},
    "arguments": {"python/npy"},
    "collector": {"registry", "python/arguments"},
    "thread_end": {"registry", "python/collector"},
    # arrays: a handle and its leased views, where a result goes, what is done with it
    "form": {"python/npy", "python/numbers", "python/order"},
    "holding": {"array", "registry", "workspace", "error", "python/object", "python/slot"},
    "view": WORDS | HANDLES | {"python/object"},
    "handle": WORDS | HANDLES | {"python/object"},
    "seen": WORDS | HANDLES,
    "place": WORDS | HANDLES | {"python/fast"},
    "reduce": WORDS | HANDLES | {"python/place", "python/ops", "python/fast", "python/loops"},
    "fast": WORDS | HANDLES,
    "loops": WORDS | HANDLES | {"python/place", "python/fast"},
    "indexing": WORDS | HANDLES | {"python/fast", "python/loops"},
    "ops": WORDS | HANDLES | {"python/place", "python/reduce", "python/loops", "python/steady"},
    "callers": set(),
    "temporaries": WORDS | HANDLES | {"python/callers", "python/loops", "python/ops"},
    "operators": WORDS
    | HANDLES
    | {"python/place", "python/ops", "python/temporaries", "python/indexing", "python/shortcut"},
    "joining": WORDS | HANDLES | {"python/place", "python/fast"},
    "protocol": WORDS
    | HANDLES
    | {
        "python/fast",
        "python/joining",
        "python/loops",
        "python/ops",
        "python/place",
        "python/reduce",
        "python/shortcut",
        "python/steady",
    },
    "functions": WORDS | HANDLES | {"python/ops", "python/protocol", "python/shortcut"},
    "methods": WORDS
    | HANDLES
    | {
        "python/place",
        "python/reduce",
        "python/indexing",
        "python/loops",
        "python/shortcut",
        "python/steady",
    },
    "create": WORDS | HANDLES | {"python/place", "python/arguments"},
    "array": WORDS
    | HANDLES
    | {
        "python/arguments",
        "python/place",
        "python/flags",
        "python/config",
        "python/workspace",
        "python/indexing",
        "python/loops",
        "python/steady",
    },
    "moves": WORDS | HANDLES | {"python/place", "python/create", "python/array", "python/arguments"},
    # workspaces and their managers
    "stats": {"workspace", "python/config"},
    "task": {"registry", "error", "python/error", "python/foreign"},
    "scope": {
        "registry",
        "config",
        "error",
        "python/collector",
        "python/error",
        "python/faults",
        "python/handler",
        "python/npy",
        "python/shortcut",
        "python/slot",
        "python/task",
        "python/workspace",
        "workspace",
    },
    "handler": {"registry", "workspace", "cycle", "python/npy"},
    "capture": {
        "config",
        "error",
        "layout",
        "registry",
        "workspace",
        "python/collector",
        "python/error",
        "python/faults",
        "python/handler",
        "python/scope",
        "python/workspace",
    },
    "workspace": {
        "workspace",
        "registry",
        "config",
        "python/arguments",
        "python/capture",
        "python/collector",
        "python/handler",
        "python/config",
        "python/error",
        "python/faults",
        "python/scope",
        "python/shortcut",
        "python/slot",
        "python/stats",
        "python/task",
        "python/thread_end",
        "python/foreign",
    },
    "makers": {"python/create", "python/fast", "python/shortcut", "python/workspace"},
    "cycle_log": {"arena", "python/workspace"},
    "faults": {"faults"},
    "array_type": {"layer_manager", "error", "python/error"},
    "layer_manager": WORDS
    | HANDLES
    | {
        "layer_manager",
        "config",
        "python/arguments",
        "python/array_type",
        "python/capture",
        "python/collector",
        "python/config",
        "python/create",
        "python/fast",
        "python/faults",
        "python/moves",
        "python/place",
        "python/scope",
        "python/shortcut",
        "python/workspace",
    },
    "manager": {
        "workspace",
        "registry",
        "config",
        "error",
        "python/arguments",
        "python/capture",
        "python/collector",
        "python/config",
        "python/error",
        "python/faults",
        "python/scope",
        "python/stats",
        "python/workspace",
    },
    "memory_manager": {
        "workspace",
        "thread",
        "python/arguments",
        "python/collector",
        "python/error",
        "python/manager",
        "python/scope",
        "python/workspace",
    },
}

# The package: `binary`, `errors` and `policies` are words and stand at the bottom; `__init__` is the door.
PYTHON = {
    "__init__": {"_core", "cycle", "errors", "memory", "policies"},
    "_core": {"policies"},
    "binary": set(),
    "cycle": {"_core"},
    "errors": {"policies"},
    "memory": {"_core"},
    "policies": set(),
    "testing": {"_core", "data"},
    "__main__": {"command_line"},
    "command_line": {"_core", "nn", "data", "evaluation", "parallel"},
    # folders: a folder is one room
    "data": {"_core", "binary", "policies"},
    "evaluation": {"binary"},
    "nn": {"_core", "binary", "errors", "policies", "data", "evaluation"},
    "parallel": {"_core", "nn", "data"},
}

UNSAFE = {
    "block",
    "fork",
    "python/callers",
    "latch",
    "python/foreign",
    "python/handle",
    "python/handler",
    "python/holding",
    "python/loops",
    "python/loops/alike",
    "python/loops/elementwise",
    "python/loops/filling",
    "python/loops/folding",
    "python/loops/job",
    "python/loops/matmul",
    "python/loops/overlapping",
    "python/loops/picking",
    "python/loops/rows",
    "python/loops/rows/cross_entropy",
    "python/loops/rows/softmax",
    "python/loops/rows/sums",
    "python/loops/turning",
    "python/npy",
    "python/npy/ndarray",
    "python/object",
    "python/shortcut",
    "python/slot",
    "python/view",
}
SAFE_BY_LAW = {"layout", "fit", "arena", "plan"}


def name_of(path):
    """`src/python/npy.rs` is `python/npy`; `src/cycle/placing.rs` is `cycle/placing`, a part of `cycle`."""
    return path.relative_to(SRC).with_suffix("").as_posix()


def room_of(name):
    """Return the row of the table: a file with its parts is one room."""
    parts = name.split("/")
    return "/".join(parts[:2] if parts[0] == "python" else parts[:1])


def sources():
    paths = [path for path in sorted(SRC.rglob("*.rs")) if path.stem != "loom_models"]
    return {name_of(path): path.read_text(encoding="utf-8") for path in paths}


def code_of(text):
    """Blank out comments and literals, keeping the lines."""
    pattern = r"""
        //[^\n]* | /\*.*?\*/
        | r(\#*)".*?"\1 | b?"(?:\\.|[^"\\])*" | b?'(?:\\[^\n]{1,9}?|[^\\'\n])'
    """
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.VERBOSE | re.DOTALL)


def before_tests(text):
    """Leave out the test modules, which stand at the end; loom's cells are read through pointers."""
    return re.split(r"^#\[cfg\((?:test|all\(test|all\(loom)", text, maxsplit=1, flags=re.MULTILINE)[0]


def split_tree(tree):
    """Split `a::{b, c::{d, e}}` into the paths `a::b`, `a::c::d`, `a::c::e`."""
    head, brace, body = tree.partition("{")
    if not brace:
        return [tree.strip()]
    paths, depth, start = [], 0, 0
    body = body[: body.rindex("}")]
    for at, char in enumerate([*body, ","]):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if body[start:at].strip():
                paths += [head.strip() + path for path in split_tree(body[start:at])]
            start = at + 1
    return paths


def paths_of(code):
    """Return every path of ours that a file names: in `use` items, and in full elsewhere."""
    uses = r"\buse\s+((?:crate|super)\b[^;]*);"
    paths = [path for tree in re.findall(uses, code) for path in split_tree(tree)]
    rest = re.sub(uses, "", code)
    return paths + re.findall(r"\b(?:crate|super)(?:::\w+)+", rest)


def imports_of(name, text):
    """Return the rooms that a file names: `array` for one of the core, `python/npy` for a binding."""
    found = set()
    room = room_of(name)
    for path in paths_of(code_of(text)):
        first, *parts = [part.strip() for part in path.split("::")]
        if first == "super":
            if name != room:  # a part: its first `super` is the room itself
                first, *parts = parts
            if first != "super" or parts[0] in {"super", "*"}:
                continue  # looks at its own room
            if room.startswith("python/"):
                parts.insert(0, "python")
        if parts[0] == "python" and len(parts) > 1:
            found.add(f"python/{parts[1]}")
        elif parts:
            found.add(home_of(parts[0]))
    return found - {room}


def home_of(name):
    """Return the core file of a name at the crate's root, which re-exports what its files define."""
    if (SRC / f"{name}.rs").is_file():
        return name
    item = rf"^pub (?:struct|enum|trait|type|fn|const|static) {name}\b"
    defines = re.compile(rf"{item}|^ +{name} \{{$", re.MULTILINE)  # or as a row of a macro
    core = ((room_of(file), text) for file, text in sources().items() if not file.startswith("python/"))
    return next((room for room, text in core if defines.search(text)), name)


def allowed_of(name):
    folder, _, file = room_of(name).rpartition("/")
    return (BINDINGS if folder else CORE).get(file, set())


def test_the_table_names_every_file():
    assert set(CORE) | {f"python/{name}" for name in BINDINGS} == {room_of(name) for name in sources()}


@pytest.mark.parametrize("name", sources())
def test_a_file_names_only_what_lies_below_it(name):
    allowed = allowed_of(name)
    if "*" not in allowed:
        assert imports_of(name, sources()[name]) - allowed == set()


@pytest.mark.parametrize("room", sorted({room_of(name) for name in sources()}))
def test_the_table_allows_only_what_is_named(room):
    """Except for words and handles, which many rows share."""
    texts = {name: text for name, text in sources().items() if room_of(name) == room}
    named = set().union(*(imports_of(name, text) for name, text in texts.items()))
    shared = WORDS | HANDLES if room.startswith("python/") else set()
    assert allowed_of(room) - shared - named <= {"*"}


@pytest.mark.parametrize("name", sources())
def test_only_the_bindings_know_python(name):
    if not name.startswith("python/"):
        code = code_of(sources()[name])
        assert not re.search(r"\bpyo3\b|\bPyResult\b|\bPython<", code)
        if name != "lib":
            assert not re.search(r"\bcrate::python\b", code)


def test_python_is_behind_its_feature():
    door = code_of(sources()["lib"])
    text = sources()["lib"]
    assert re.search(r"\bmod python;", door)
    assert re.search(r'#\[cfg\(feature = "python"\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub )?mod python;', text)


@pytest.mark.parametrize("name", sources())
def test_unsafe_code_stands_where_it_is_allowed(name):
    code = code_of(before_tests(sources()[name]))
    if name in SAFE_BY_LAW:  # and the parts of the room with it
        assert re.search(r"#!\[forbid\(unsafe_code\)\]", code)
    if name not in UNSAFE:
        assert not re.search(r"\bunsafe\b|\ballow\(unsafe_code", code)


def invariants_of(text):
    """Return the numbers of the invariants at a file's top."""
    top = re.match(r"(?://![^\n]*\n)*", text)[0]
    return set(re.findall(r"^//! (\d+)\. ", top, re.MULTILINE))


def unsafe_without_note(text):
    """Return the lines with an unsafe block or impl that has no SAFETY note, or cites what is not there."""
    lines, bare = text.splitlines(), []
    for at, line in enumerate(code_of(text).splitlines()):
        if re.search(r"\bunsafe\s*(\{|impl\b)", line):
            note = note_above(lines, at)
            cited = re.search(r"\binvariants? ([\d, andto]+)", note)
            numbers = set(re.findall(r"\d+", cited[1])) if cited else set()
            if "SAFETY:" not in note or numbers - invariants_of(text):
                bare.append(at + 1)
    return bare


def note_above(lines, at):
    """Return the comment that ends just above a line, attributes and the statement's own lines left out."""
    start = at
    while start > 0 and not lines[start - 1].strip().startswith("//") and at - start < 4:
        if not lines[start - 1].strip() or lines[start - 1].rstrip().endswith((";", "}")):
            break
        start -= 1
    note = []
    while start > 0 and lines[start - 1].strip().startswith("//"):
        start -= 1
        note.insert(0, lines[start])
    return "\n".join(note)


@pytest.mark.parametrize("name", sorted(UNSAFE))
def test_every_unsafe_block_has_its_note(name):
    text = sources()[name]
    assert invariants_of(text)
    assert unsafe_without_note(text) == []


def python_imports(path):
    """Return the modules of ours that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "ndarena" if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [module] if module != "ndarena" else [f"{module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("ndarena.")}
    return found


def python_room_of(path):
    """Return the row of the table: the folder or the file."""
    return path.relative_to(PACKAGE).parts[0].partition(".")[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py*")), ids=lambda path: path.name)
def test_the_package_imports_downwards(path):
    if path.suffix in {".py", ".pyi"}:
        room = python_room_of(path)
        assert python_imports(path) - PYTHON[room] - {room} == set()


# The reader itself.


def test_the_reader_sees_every_form_of_import():
    text = """
        use crate::{block::Block, ring::{self, Ring}, Error};
        use super::npy; // use crate::comment::X;
        pub(crate) use crate::config::Settings as S;
        fn f() { let _ = crate::registry::current(); let _ = "crate::literal::X"; let _: &'static str; }
        mod tests { use super::*; }
    """
    core = imports_of("arena", text)
    assert core == {"block", "ring", "error", "npy", "config", "registry"}
    assert "python/npy" in imports_of("python/view", text)
    assert imports_of("cycle/placing", "use super::super::block; use super::State;") == {"block"}


def test_the_reader_sees_a_missing_note():
    text = (
        "//! 1. the pointer is ours\n"
        "fn f() {\n"
        "    // SAFETY: invariant 1, checked above\n"
        "    let a = unsafe { g() };\n"
        "    let b = unsafe { g() };\n"
        "    // SAFETY: invariants 1 and 2\n"
        "    unsafe { g() }\n"
        '    let c = "unsafe { }";\n'
        "}\n"
    )
    assert unsafe_without_note(text) == [5, 7]
