#!/usr/bin/env python3
"""Runs cases of what people bring, and prints what was expected beside what happened.

    tests/field/run_cases.py CASES [NAME ...] [--program target/release/pentimento]

CASES is a folder with a folder for each case: `expect.md`, whose first `sh` block are the commands and whose section "A sensible
user expects" says how they should end, and `input/`, in a copy of which the commands run. In the commands `$P` is the program with
one thread, `$P0` the program, and `$PYTHON` a Python with diffusers (PENTIMENTO_PYTHON, or python3).
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

SECONDS = 180


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/pentimento"))
    arguments = parser.parse_args()
    folders = sorted(folder for folder in arguments.cases.iterdir() if (folder / "expect.md").is_file())
    for folder in folders:
        if not arguments.names or folder.name in arguments.names:
            run(folder, arguments.program.resolve())


def run(case, program):
    text = (case / "expect.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", text, re.S).group(1)
    expected = re.search(r"## A sensible user expects\n(.*?)(?=\n## |\Z)", text, re.S).group(1).strip()
    print(f"{'=' * 100}\n{case.name}\n\nexpected: {expected}\n\ngot:")
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder) / "input"
        if (case / "input").is_dir():
            shutil.copytree(case / "input", here, symlinks=True)
        else:
            here.mkdir()
        environment = dict(
            os.environ,
            P=f"{program} --threads 1",
            P0=str(program),
            PYTHON=os.environ.get("PENTIMENTO_PYTHON", "python3"),
            PENTIMENTO_CACHE=str(pathlib.Path(folder) / "cache"),
        )
        # Each command is echoed, and its exit status follows it.
        script = "".join(
            f"echo {shell_quoted('$ ' + line)}\n{line}\necho \"[exit $?]\"\n" for line in commands.strip().splitlines()
        )
        try:
            done = subprocess.run(
                ["bash", "-c", script], cwd=here, env=environment, text=True, timeout=SECONDS,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
            )
            got = done.stdout
        except subprocess.TimeoutExpired as expired:
            got = (expired.stdout or b"").decode(errors="replace") + f"[no end after {SECONDS} s]\n"
        print(got.replace(str(here), "…"), flush=True)


def shell_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    main()
