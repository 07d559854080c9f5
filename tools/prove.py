"""Run the proofs of SAFETY.md; `make prove` calls it.

A proof has held, was violated, or was not run; what a machine lacks is said, and never counts as held. What
each of them told lies in target/prove, and so does the table. The exit code is 0 only if all have held.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "target" / "prove"
FOUND = OUT / "corpus"  # what the fuzzer adds; the kept corpus is only read
NIGHTLY = "nightly-2026-05-20"
HELD, VIOLATED, NOT_RUN = "held", "violated", "not run"

Command = list[str]


def told_by(command: Command) -> str:
    """Return what a command says, or nothing."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


HOST = (re.findall(r"host: (\S+)", told_by(["rustc", "-vV"])) or ["unknown"])[0]
CARGO = ["cargo", f"+{NIGHTLY}"]
TESTS = ["test", "--locked", "--test", "rust"]
PROFILE = ["--profile", "proof"]
# Memory is touched, by one thread or several; the rest is arithmetic, in which unsafe code is forbidden.
TOUCHING = ["access::", "captured::", "moves::", "rings::", "scopes::", "tasks::", "threads::"]
LONG_IN_MIRI = ["--skip", "pieces_are_apart"]
# They count what the process takes of the system, which is the sanitizer's doing.
COUNTING = ["--skip", "does_not_fault", "--skip", "leave_no_trace"]
# Without the sanitizer fifteen times as many programs run in a time; the kept ones run under `address`.
# A byte means its remainder, so what it is compared with steers nothing.
FUZZ = ["--sanitizer", "none", "--no-trace-compares", "--target-dir", "target/fuzz"]

NIGHTLY_NEEDS: list[tuple[Command, Command]] = [
    (
        [*CARGO, "miri", "--version"],
        ["rustup", "toolchain", "install", NIGHTLY, "--profile", "minimal", "-c", "miri", "-c", "rust-src"],
    )
]
FUZZ_NEEDS = [*NIGHTLY_NEEDS, ([*CARGO, "fuzz", "--version"], ["cargo", "install", "--locked", "cargo-fuzz"])]


@dataclass
class Proof:
    """A command that fails if what it proves does not hold."""

    name: str
    what: str
    command: Command
    figure: str
    env: dict[str, str] = field(default_factory=dict)
    build: Command = field(default_factory=list)
    # What must run, and what installs it.
    needs: list[tuple[Command, Command]] = field(default_factory=list)
    seeded: bool = False
    minutes: int = 15
    # It keeps all cores busy by itself, once it is built; of the others two run side by side.
    alone: bool = False


def sanitized(name: str, what: str, flag: str, more: Command, chosen: Command) -> Proof:
    """Describe the tests of the core under a sanitizer."""
    test = [*CARGO, *TESTS, *more, "--target", HOST, "--target-dir", f"target/{flag}"]
    return Proof(
        name,
        what,
        [*test, "--", *chosen],
        r"(\d+) passed",
        {"RUSTFLAGS": f"-Zsanitizer={flag}", "NDARENA_MODEL_STEPS": "20000"},
        [*test, "--no-run"],
        NIGHTLY_NEEDS,
        seeded=True,
    )


def proofs(steps: int, seconds: int, executions: int, seed: int) -> list[Proof]:
    """List the proofs in their order."""
    core = ["cargo", *TESTS, *PROFILE]
    fuzz = [*CARGO, "fuzz", "run", *FUZZ, "model", str(FOUND.relative_to(ROOT)), "fuzz/corpus/model"]
    ends = [f"-max_total_time={seconds}"] if seconds else [f"-runs={executions}"]
    return [
        Proof(
            "model",
            "random programs agree with plain vectors",
            [*core, "--", "random_programs", "--nocapture"],
            r"model: (\d+ steps)",
            {"NDARENA_MODEL_STEPS": str(steps)},
            [*core, "--no-run"],
            seeded=True,
        ),
        Proof(
            "loom", "all interleavings of who frees and who leases", ["make", "test-loom"], r"(\d+) passed"
        ),
        Proof(
            "miri",
            "no undefined behaviour in the core, with memory from the heap",
            [
                *CARGO,
                "miri",
                *TESTS,
                "--target-dir",
                "target/miri",
                "--",
                *TOUCHING,
                *LONG_IN_MIRI,
            ],
            r"(\d+) passed",
            {"MIRIFLAGS": "-Zmiri-strict-provenance -Zmiri-disable-isolation"},
            needs=NIGHTLY_NEEDS,
            minutes=20,
        ),
        Proof(
            "corpus",
            "programs that a fuzzer kept agree with plain vectors",
            [*core, "--", "corpus", "--nocapture"],
            r"corpus: (.+)",
        ),
        Proof(
            "refusals",
            "a system and an arena that refuse leave everything as it was",
            ["cargo", "test", "--locked", *PROFILE, "--test", "failing_system"],
            r"(\d+) passed",
        ),
        sanitized(
            "address",
            "no access outside memory, or after its end",
            "address",
            ["--lib", "--test", "failing_system"],
            COUNTING,
        ),
        sanitized("thread", "no data race, std included", "thread", ["-Zbuild-std"], TOUCHING),
        Proof(
            "fuzz",
            "programs made by coverage agree with plain vectors",
            [*fuzz, "--", f"-seed={seed}", "-len_control=0", "-max_len=256", "-print_final_stats=1", *ends],
            r"number_of_executed_units: (\d+)",
            build=[*CARGO, "fuzz", "build", *FUZZ, "model"],
            needs=FUZZ_NEEDS,
            seeded=True,
            minutes=15 if seconds else 24 * 60,
        ),
        Proof(
            "bindings",
            "nonsense, faults at every point, code of others, readers, forks",
            ["make", "prove-python", f"SEED={seed}"],
            r"(\d+) passed",
            build=["make", "build-python"],
            seeded=True,
            alone=True,
        ),
        Proof(
            "extension",
            "no access outside memory, or after its end, by the bindings",
            ["make", "test-address", f"NIGHTLY={NIGHTLY}"],
            r"(\d+) passed",
            build=["make", "build-address", f"NIGHTLY={NIGHTLY}"],
            needs=NIGHTLY_NEEDS,
            alone=True,
        ),
    ]


def last_line(text: str) -> str:
    """Return what a tool that failed said at the end."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"error|Error|not found", line)]
    lines = lines or [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it says nothing"


running: set[subprocess.Popen[bytes]] = set()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: Command, env: dict[str, str], minutes: int, log: Path) -> tuple[int | None, str]:
    """Run a command into a log; its exit code (`None`: too slow, or not there) and what it told."""
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        start = out.tell()
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | env, stdout=out, stderr=out, start_new_session=True
            )
        except OSError as error:
            return None, str(error)
        running.add(process)
        try:
            code = process.wait(minutes * 60)
        except subprocess.TimeoutExpired:
            return None, f"error: not done after {minutes} minutes"
        finally:
            stop(process)
            running.discard(process)
    with log.open(encoding="utf-8", errors="replace") as told:
        told.seek(start)
        return code, told.read()


def lacking(proof: Proof) -> str:
    """Install what a proof needs; why that cannot be done, if so."""
    log = log_of(proof)
    log.unlink(missing_ok=True)
    for probe, install in proof.needs:
        if run(probe, {}, 1, log)[0] != 0:
            code, told = run(install, {}, 15, log)
            if code != 0:
                return f"{' '.join(install[:3])}: {last_line(told)}"
    return ""


def log_of(proof: Proof) -> Path:
    """Return where what a proof told lies."""
    return OUT / f"{proof.name}.log"


def unbuilt(proof: Proof) -> str:
    """Build what a proof runs; why that cannot be done, if so."""
    if proof.build:
        code, told = run(proof.build, proof.env, 15, log_of(proof))
        if code != 0:
            return f"it does not build: {last_line(told)}"
    return ""


def prove(proof: Proof, seed: int) -> tuple[str, str]:
    """Run a proof: its verdict and its figure, or the reason why there is none."""
    log = log_of(proof)
    code, told = run(proof.command, {"NDARENA_SEED": str(seed)} | proof.env, proof.minutes, log)
    if code is None:
        return NOT_RUN, last_line(told)
    figures = re.findall(proof.figure, told)
    if code != 0:
        return VIOLATED, last_line(told)
    if not figures:
        return NOT_RUN, f"it told no figure: {log.relative_to(ROOT)}"
    return HELD, str(sum(map(int, figures))) if all(f.isdigit() for f in figures) else figures[-1]


Row = tuple[str, ...]


def row(proof: Proof, reason: str, seed: int) -> Row:
    """Run a proof, unless there is a reason why not, and return its row of the table."""
    print(f"{proof.name}: {proof.what} ...", flush=True)
    begun = time.monotonic()
    reason = reason or unbuilt(proof)
    verdict, figure = (NOT_RUN, reason) if reason else prove(proof, seed)
    seconds = round(time.monotonic() - begun)
    print(f"    {proof.name} {verdict}: {figure}, {seconds} s", flush=True)
    command = " ".join(f"{name}={value}" for name, value in proof.env.items())
    command = f"`{command} {' '.join(proof.command)}`".replace("` ", "`")
    shown = str(seed) if proof.seeded else ""
    return proof.name, proof.what, shown, figure, str(seconds), verdict, command


def rows(chosen: list[Proof], seed: int) -> list[Row]:
    """Run proofs, two at a time of those that leave a core free; their rows in the order of the proofs.

    What the others run is built beside them: linking takes one core.
    """
    found: dict[str, Row] = {}
    alone = [proof for proof in chosen if proof.alone]
    installing = threading.Lock()  # one installation after the other

    def take(proof: Proof) -> None:
        with installing:
            reason = lacking(proof)
        found[proof.name] = row(proof, reason, seed)

    def build() -> None:
        for proof in alone:
            with installing:
                reason = lacking(proof)
            if not reason:
                unbuilt(proof)  # what goes wrong is told when it is built again

    pool = ThreadPoolExecutor(2)
    try:
        built = pool.submit(build)
        list(pool.map(take, [proof for proof in chosen if not proof.alone]))
        built.result()
        for proof in alone:
            take(proof)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):  # an interrupt
            stop(process)
    return [found[proof.name] for proof in chosen]


def report(found: list[Row], seed: int) -> str:
    """Make the table of the end."""
    commit = told_by(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]).strip() or "no commit"
    dirty = " and changes" if told_by(["git", "-C", str(ROOT), "status", "--porcelain"]).strip() else ""
    titles = ("proof", "what it shows", "seed", "figure", "seconds", "verdict", "command")
    lines = [titles, tuple("---" for _ in titles), *found]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"Commit {commit}{dirty}, seed {seed}, {HOST}\n\n{table}\n"


def main() -> int:
    """Run the proofs that were asked for."""
    asking = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asking.add_argument("names", nargs="*", help="proofs to run; all of them if none is named")
    asking.add_argument("--list", action="store_true", help="list them")
    asking.add_argument("--seed", type=int, default=random.randrange(1, 2**31))  # noqa: S311
    asking.add_argument("--steps", type=int, default=10**6, help="steps of the random programs")
    asking.add_argument("--executions", type=int, help="executions of the fuzzer, in place of two minutes")
    asked = asking.parse_args()
    known = proofs(asked.steps, 0 if asked.executions else 120, asked.executions, asked.seed)
    if unknown := set(asked.names) - {proof.name for proof in known}:
        asking.error(f"no proof {', '.join(sorted(unknown))}: see --list")
    chosen = [proof for proof in known if not asked.names or proof.name in asked.names]
    if asked.list:
        print("\n".join(f"{proof.name:10} {proof.what}" for proof in chosen))
        return 0
    FOUND.mkdir(parents=True, exist_ok=True)
    found = rows(chosen, asked.seed)
    text = report(found, asked.seed)
    (OUT / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    return 0 if all(each[5] == HELD for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
