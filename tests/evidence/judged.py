#!/usr/bin/env python3
"""The linear datamodelling score of methods on a kept bank, without training it again.

    python3 judged.py PENTIMENTO RUN KEPT METHODS [KEY=VALUE ...]

PENTIMENTO is the program, RUN the run of a kept bank's network (imported as docs/results/banks.md says), KEPT docs/results/banks/mnist or
docs/results/banks/cifar2, METHODS names with commas. Values that stand in RUN's recipe take others first, such as `groups=16`. A line is
printed for each method and set of queries: the score in % with its 95 % interval over subsets, the same with the query mean removed,
and the seconds that scoring took beyond what was there; or why the program refused.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

SETS = {"samples": "samples", "held-out:24": "held-out-24"}
LINE = re.compile(r"^(.*): (-?[\d.]+|none)(?: %)?(?: \[(-?[\d.]+), (-?[\d.]+)\])?,")


def set_in_recipe(run, key, value):
    """Gives a key of a run's recipe another value; it has to stand there once."""
    recipe = Path(run) / "recipe.toml"
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", recipe.read_text())
    if count != 1:
        sys.exit(f"{recipe} has {count} lines `{key} = ...`: import the network with that setting")
    recipe.write_text(text)


class Refused(Exception):
    """Why the program does not compute some scores."""


def scored(program, run, queries, method, into):
    """Scores by a method in a file, whose ending says its kind, and the seconds that making them took."""
    began = time.monotonic()
    asked = [program, "attribute", run, "--query", queries, "--method", method]
    said = subprocess.run(asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if said.returncode != 0:
        raise Refused(said.stderr.strip().splitlines()[-1])
    seconds = time.monotonic() - began
    export(program, run, queries, method, into)
    return seconds


def export(program, run, queries, method, into):
    """The scores that a run keeps, in a file that is replaced."""
    Path(into).unlink(missing_ok=True)
    asked = [program, "scores", run, "--query", queries, "--method", method, "--export", into]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def judged(program, kept, queries, scores):
    """`[value, low, high]` in % of the linear datamodelling score, and the same with the query mean removed."""
    kept = Path(kept)
    asked = [program, "evaluate", "lds", "--scores", scores, "--masks", kept / "masks.npy", "--outcomes", kept / SETS[queries] / "loss.npy"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    found = {match[1]: match.groups()[1:] for match in map(LINE.match, said.splitlines()) if match}
    try:
        return [[float(value) for value in found[name]] for name in ("linear datamodelling score", "with the query mean removed")]
    except (KeyError, TypeError, ValueError):
        sys.exit(f"`evaluate lds` said something else:\n{said}")


def main():
    program, run, kept, methods = sys.argv[1:5]
    for setting in sys.argv[5:]:
        set_in_recipe(run, *setting.split("="))
    held = json.loads((Path(kept) / "axes.json").read_text())["names"]["queries of held-out-24"]
    assert len(held) == 24, held
    for method in methods.split(","):
        for queries in SETS:
            scores = f"{run}.scores.npy"
            try:
                seconds = scored(program, run, queries, method, scores)
            except Refused as why:
                print(method, queries, why, sep=" | ", flush=True)
                continue
            whole, without_mean = judged(program, kept, queries, scores)
            Path(scores).unlink()
            text = lambda three: "{:.1f} [{:.1f}, {:.1f}]".format(*three)
            print(method, queries, text(whole), "without the mean", text(without_mean), f"{seconds:.0f} s", sep=" | ", flush=True)


if __name__ == "__main__":
    main()
