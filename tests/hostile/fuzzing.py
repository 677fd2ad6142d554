"""Change bytes of stored objects at random, and ask the store everything.

A process of its own, because native code that is handed hostile bytes may end
it:

    python -m tests.hostile.fuzzing FOLDER --seed 1 --first 0 --count 100

It prints the number of each example before it begins; one number alone
replays it. ``sealed`` examples have digests that fit, as their author would
make them.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import click
from pyroaring import BitMap

from arrowopaque import ArrowOpaqueError, StoreRoot
from arrowopaque.format.manifest import DataFile
from tests.hostile.forge import ROWS, Hostile, ask_everything, reseal


def change(rng: random.Random, data: bytes) -> bytes:
    """Return bytes that differ in a few places."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed))
        if rng.random() < 0.5:
            # Most of what decides anything is at the end.
            at = max(0, len(changed) - 1 - rng.randrange(900))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del changed[at : at + rng.choice((1, 4, 40))]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.choice((1, 4, 40))]
        else:
            changed[at : at + 4] = rng.randbytes(4)
        if len(changed) < 16:
            break
    return bytes(changed)


def _data_file(rng: random.Random, hostile: Hostile, *, sealed: bool) -> None:
    first, second = hostile.files
    data = change(rng, hostile.read(second.path))
    if sealed:
        hostile.commit(first, hostile.replaced(second, data))
    else:
        hostile.put(second.path, data)


def _index(rng: random.Random, hostile: Hostile, *, sealed: bool) -> None:
    first, second = hostile.files
    (index,) = second.indexes
    data = change(rng, hostile.read(index.path))
    if not sealed:
        hostile.put(index.path, data)
        return
    # What is said of an index has the form of what is said of a data file.
    stands_for = DataFile(min=second.min, max=second.max, **index.model_dump(exclude={"columns"}))
    facts = hostile.replaced(stands_for, data).model_dump(
        include={"bytes", "digest", "footer", "footer_digest"}
    )
    hostile.commit(first, second.model_copy(update={"indexes": (index.model_copy(update=facts),)}))


def _deletes(rng: random.Random, hostile: Hostile, *, sealed: bool) -> None:
    first, second = hostile.files
    assert first.deletes is not None
    data = change(rng, BitMap([1, 5, 6, *range(20, 30)]).serialize() if rng.random() < 0.5 else
                  hostile.read(first.deletes.path))  # fmt: skip
    if sealed:
        hostile.commit(hostile.deleting(first, data, count=rng.choice((3, 13, 2))), second)
    else:
        hostile.put(first.deletes.path, data)


def _document(rng: random.Random, hostile: Hostile, *, sealed: bool) -> None:
    paths = [*hostile.folder.rglob("*.json")]
    path = str(rng.choice(sorted(paths)).relative_to(hostile.folder))
    data = change(rng, hostile.read(path))
    if sealed:
        try:
            data = reseal(json.loads(data))
        except (ValueError, AttributeError, RecursionError):
            return
    hostile.put(path, data)


KINDS = (_data_file, _data_file, _index, _deletes, _document)


def example(folder: Path, seed: int, number: int) -> None:
    """Make one store, and see that it is refused or answers rightly."""
    rng = random.Random(f"{seed} {number}")
    hostile, sealed = Hostile(folder), rng.random() < 0.7
    rng.choice(KINDS)(rng, hostile, sealed=sealed)
    errors = ask_everything(folder)
    if not sealed and not errors:
        # What is altered and was not found out was not looked at.
        try:
            rows = StoreRoot(str(folder), writeable=False).table("t").fetch_arrow()
        except ArrowOpaqueError:
            return
        assert rows.num_rows == 2 * ROWS - 3, rows.num_rows


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=1)
@click.option("--first", default=0)
@click.option("--count", default=1)
def main(folder: Path, seed: int, first: int, count: int) -> None:
    """Try some examples."""
    for number in range(first, first + count):
        click.echo(number)
        example(folder / "store", seed, number)
        shutil.rmtree(folder / "store")


if __name__ == "__main__":
    main()
