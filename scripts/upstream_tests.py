"""Run lsst.daf.butler's own tests with our managers, or with the default ones, and say what came of it.

    python scripts/upstream_tests.py --tests DIR --managers default    --output baseline.json
    python scripts/upstream_tests.py --tests DIR --managers arrowopaque --baseline baseline.json

DIR is the `tests` folder of daf_butler at the installed version; it is copied first and never written to.
The source archive of a weekly (`pip download --no-deps --no-binary lsst-daf-butler lsst-daf-butler==VERSION`)
has the test files, but not the `config` and `data` folders beside them: take those from the nearest weekly
tag of the repository.

Beyond the extras `butler`, `postgres` and `test` the tests want testing.postgresql, `pandas<3` and
matplotlib. The tests of the server want Python 3.13, safir, fastapi, httpx and httpx2 too, and skip
themselves without. PostgreSQL refuses to start for root: root names another user with --user, and that user
must be able to read the interpreter.

With `--bulk-rows 2 --flush` nearly every row goes through data files. The host's datastore tests use
in-memory doubles of both managers; `--no-dummies` gives them the real ones, at the baseline too (a few fail
there, because the doubles undo what only a database transaction would). The host's helper for test
repositories copies the SQLite file of an empty repository, and nothing beside it, where it can; that is a
test in itself, and `--no-templates` is for telling its failures from others.

Exit status: 0 when the managers were used and nothing failed that did not fail at the baseline, 1 when
something did, 2 when the run itself is worthless: no tests, a crash, or managers never asked for anything.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import upstream_plugin

MANAGERS = {
    "default": (
        "lsst.daf.butler.registry.opaque.ByNameOpaqueTableStorageManager",
        "lsst.daf.butler.registry.bridge.monolithic.MonolithicDatastoreRegistryBridgeManager",
    ),
    "arrowopaque": (
        "arrowopaque.ArrowOpaqueTableStorageManager",
        "arrowopaque.ArrowDatastoreRegistryBridgeManager",
    ),
}
DEFAULT_FILES = (
    "test_butler.py",
    "test_simpleButler.py",
    "test_datastore.py",
    "test_sqlite.py",
    "test_postgresql.py",
    "test_quantumBackedButler.py",
    "test_remote_butler.py",
    "test_server.py",
    "test_cli*.py",
)
OUTCOMES = ("passed", "failed", "error", "skipped")
PROJECT = Path(__file__).resolve().parent.parent
CONFIGURATION = """\
registry:
  managers:
    opaque: {opaque}
    datastores: {bridge}
"""
INTERRUPTED = 2  # pytest's own statuses from here on mean that the run did not come to its end


class RunError(Exception):
    """The run proves nothing; the message says why."""


@dataclass(frozen=True)
class Account:
    """The user that the tests run as."""

    name: str
    uid: int
    gid: int


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=Path, required=True, help="the host's tests folder")
    parser.add_argument("--managers", choices=sorted(MANAGERS), default="arrowopaque")
    parser.add_argument("--opaque", help="another opaque table manager's class, by its full name")
    parser.add_argument("--bridge", help="another bridge manager's class, by its full name")
    parser.add_argument("--bulk-rows", type=int, help="Options.bulk_rows; 2: bulk almost always")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=NUMBER", help="one of Options")
    parser.add_argument("--flush", action="store_true", help="flush before every call outside a transaction")
    parser.add_argument("--no-dummies", action="store_true", help="no doubles in the datastore tests")
    parser.add_argument(
        "--no-templates", action="store_true", help="make each repository anew, copy no SQLite file"
    )
    parser.add_argument("--user", help="run the tests as this user: PostgreSQL refuses to start for root")
    parser.add_argument("--workers", type=int, default=2, help="test processes")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one test")
    parser.add_argument("--keyword", "-k", help="pytest's -k")
    parser.add_argument("--baseline", type=Path, help="JSON of a run to compare with")
    parser.add_argument("--output", type=Path, help="where to write the JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder that the tests ran in")
    parser.add_argument("files", nargs="*", default=DEFAULT_FILES, help="test files or patterns in DIR")
    return parser.parse_args(arguments)


def find_files(tests: Path, patterns: Iterable[str]) -> list[str]:
    found = []
    for pattern in patterns:
        names = sorted(path.name for path in tests.glob(pattern))
        if not names:
            raise RunError(f"no test file {pattern} in {tests}")
        found.extend(names)
    return list(dict.fromkeys(found))


def find_account(name: str | None) -> Account | None:
    """The account to change to, None to stay as we are."""
    if name is None:
        if os.geteuid() == 0:
            raise RunError("PostgreSQL refuses to start for root: name another user with --user")
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise RunError(f"there is no user {name}") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def parse_options(arguments: argparse.Namespace) -> dict[str, int | float]:
    options: dict[str, int | float] = {}
    if arguments.bulk_rows is not None:
        options["bulk_rows"] = arguments.bulk_rows
    for option in arguments.option:
        name, separator, value = option.partition("=")
        if not separator:
            raise RunError(f"--option wants NAME=NUMBER, got {option}")
        options[name] = float(value) if "." in value else int(value)
    return options


def prepare(work: Path, arguments: argparse.Namespace) -> upstream_plugin.Setup:
    """Lay out the folder that the tests run in: a copy of them, and room for what they write."""
    shutil.copytree(arguments.tests, work / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "home", "reports", "root", "tmp"):
        (work / name).mkdir()
    opaque, bridge = MANAGERS[arguments.managers]
    setup = upstream_plugin.Setup(
        opaque=arguments.opaque or opaque,
        bridge=arguments.bridge or bridge,
        reports=str(work / "reports"),
        root=str(work / "root"),
        options=parse_options(arguments),
        flush=arguments.flush,
        no_dummies=arguments.no_dummies,
        no_templates=arguments.no_templates,
    )
    configuration = CONFIGURATION.format(opaque=setup.opaque, bridge=setup.bridge)
    (work / "config" / "registry.yaml").write_text(configuration)
    (work / "tests" / "pytest.ini").write_text("[pytest]\n")
    return setup


def give(work: Path, account: Account) -> None:
    for path in (work, *work.rglob("*")):
        os.chown(path, account.uid, account.gid)


def make_environment(work: Path, setup: upstream_plugin.Setup) -> dict[str, str]:
    # The variable would also move the roots of SQLite registries; the plugin sets it for PostgreSQL alone.
    kept = {name: value for name, value in os.environ.items() if name != upstream_plugin.ROOT_VARIABLE}
    paths = [str(PROJECT / "scripts"), str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        **setup.to_environment(),
        "DAF_BUTLER_CONFIG_PATH": str(work / "config"),
        "HOME": str(work / "home"),
        # Some tests start the `butler` command; the environment need not be an activated one.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(work / "tmp"),
    }


def make_command(arguments: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--timeout={arguments.timeout}"]
    command += ["-p", "upstream_plugin", "-p", "no:cacheprovider"]
    if arguments.workers > 1:
        command += ["-n", str(arguments.workers), "--dist", "loadscope"]
    if arguments.keyword:
        command += ["-k", arguments.keyword]
    return command


def run_pytest(
    command: list[str], folder: Path, environment: dict[str, str], account: Account | None
) -> None:
    status = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[account.gid] if account else None,
    ).returncode
    if status >= INTERRUPTED or status < 0:
        raise RunError(f"pytest came to no proper end (status {status})")


def gather(setup: upstream_plugin.Setup, files: list[str]) -> dict[str, Any]:
    """Put the account of the run together, as JSON takes it."""
    reports = Path(setup.reports)
    tests = json.loads((reports / "outcomes.json").read_text())
    calls: dict[str, Counter[str]] = {file: Counter() for file in files}
    for path in reports.glob("calls-*.json"):
        for file, counts in json.loads(path.read_text()).items():
            calls.setdefault(file, Counter()).update(counts)
    return {
        "opaque": setup.opaque,
        "bridge": setup.bridge,
        "options": setup.options,
        "flush": setup.flush,
        "no_dummies": setup.no_dummies,
        "no_templates": setup.no_templates,
        "python": sys.version.split()[0],
        "versions": {name: metadata.version(name) for name in ("lsst-daf-butler", "sqlalchemy", "pytest")},
        "files": {file: summarise(file, tests, calls[file]) for file in files},
        "tests": tests,
    }


def summarise(file: str, tests: list[dict[str, str]], calls: Counter[str]) -> dict[str, Any]:
    counts = Counter(test["outcome"] for test in tests if file_of(test) == file)
    return {**{outcome: counts[outcome] for outcome in OUTCOMES}, "calls": dict(sorted(calls.items()))}


def used(summary: dict[str, Any], result: dict[str, Any]) -> tuple[int, int]:
    """How often the opaque manager was initialised and asked for a table."""
    name = result["opaque"].rpartition(".")[2]
    return summary["calls"].get(f"{name}.initialize", 0), summary["calls"].get(f"{name}.register", 0)


def print_table(result: dict[str, Any]) -> None:
    names = [*result["files"], "total"]
    numbers: list[tuple[int, ...]] = []
    for summary in result["files"].values():
        numbers.append((*(summary[outcome] for outcome in OUTCOMES), *used(summary, result)))
    numbers.append(tuple(map(sum, zip(*numbers, strict=True))))
    width = max(map(len, names))
    print(f"\nopaque: {result['opaque']}\nbridge: {result['bridge']}\n")
    print("file".ljust(width), *(heading.rjust(10) for heading in (*OUTCOMES, "initialize", "register")))
    for name, row in zip(names, numbers, strict=True):
        print(name.ljust(width), *(str(number).rjust(10) for number in row))


def print_reasons(result: dict[str, Any]) -> None:
    skips = Counter((file_of(test), test["detail"]) for test in result["tests"] if is_skip(test))
    for (file, reason), number in sorted(skips.items()):
        print(f"skipped {number:4} in {file}: {first_error(reason)}")
    for test in result["tests"]:
        if is_bad(test):
            print(f"{test['outcome']}: {test['test']}: {first_error(test['detail'])}")


def first_error(detail: str) -> str:
    lines = detail.strip().splitlines()
    return next((line[1:].strip() for line in lines if line.startswith("E ")), lines[-1] if lines else "?")


def file_of(test: dict[str, str]) -> str:
    return test["test"].partition("::")[0]


def is_skip(test: dict[str, str]) -> bool:
    return test["outcome"] == "skipped"


def is_run(test: dict[str, str]) -> bool:
    return not is_skip(test)


def is_bad(test: dict[str, str]) -> bool:
    return test["outcome"] in ("failed", "error")


def compare(result: dict[str, Any], baseline: dict[str, Any], keyword: str | None) -> list[str]:
    """What is worse than at the baseline, a line for each test."""
    asked = [test for test in baseline["tests"] if file_of(test) in result["files"]]
    lost = set() if keyword else named(asked, is_run) - named(result["tests"], is_run)
    broken = named(result["tests"], is_bad) - named(asked, is_bad)
    return [f"did not run: {test}" for test in sorted(lost)] + [f"fails: {test}" for test in sorted(broken)]


def named(tests: list[dict[str, str]], wanted: Callable[[dict[str, str]], bool]) -> set[str]:
    return {test["test"] for test in tests if wanted(test)}


def judge(result: dict[str, Any], arguments: argparse.Namespace) -> int:
    initialised, registered = map(sum, zip(*(used(s, result) for s in result["files"].values()), strict=True))
    if not initialised or not registered:
        raise RunError(f"{result['opaque']} was never used (initialize {initialised}, register {registered})")
    if arguments.baseline is None:
        return int(any(is_bad(test) for test in result["tests"]))
    worse = compare(result, json.loads(arguments.baseline.read_text()), arguments.keyword)
    print(f"\nworse than {arguments.baseline}: {len(worse)}")
    for line in worse:
        print(f"  {line}")
    return int(bool(worse))


def run(arguments: argparse.Namespace, work: Path) -> int:
    files = find_files(arguments.tests, arguments.files)
    account = find_account(arguments.user)
    setup = prepare(work, arguments)
    if account is not None:
        give(work, account)
    command = [*make_command(arguments), *files]
    run_pytest(command, work / "tests", make_environment(work, setup), account)
    result = gather(setup, files)
    print_table(result)
    print_reasons(result)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return judge(result, arguments)


def main() -> int:
    arguments = parse_arguments()
    work = Path(tempfile.mkdtemp(prefix="upstream-"))
    try:
        return run(arguments, work)
    except RunError as error:
        print(f"upstream_tests: {error}", file=sys.stderr)
        return 2
    finally:
        if arguments.keep:
            print(f"kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
