#!/usr/bin/env python3
"""Times pentimento against PyTorch on this machine, both doing the same work in turn, and writes what it found.

    python3 -m venv bench-env
    bench-env/bin/pip install -r bench/requirements.txt
    bench-env/bin/python bench/vs_pytorch.py

Before timing, every piece of work is checked to give the same result on both sides. Rounds alternate: pentimento,
PyTorch's first variant, its second, and again. Results go to docs/benchmarks/vs_pytorch.json, one entry for each piece
of work (other entries stay), and as a table into docs/benchmarks/README.md.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WORK_NAMES = ["train-small", "train-large", "sample", "jacobian", "search", "adapter", "convolution", "layer"]
# How long disturbed rounds are made again without `--patience`.
AGAIN_SECONDS = 60
# Differences in f32 beyond this mean that the two sides do not do the same work; see `agree`.
LARGEST_DIFFERENCE = 1e-3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=WORK_NAMES, metavar="WORK", help=f"one of {', '.join(WORK_NAMES)}; may be repeated")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds (7); fewer for work of minutes")
    parser.add_argument("--quick", action="store_true", help="fewer variants and steps; writes nothing")
    parser.add_argument("--patience", type=float, default=0, metavar="MINUTES", help="how long to wait, for each piece of work, for others to leave the machine alone (0)")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides (2)")
    parser.add_argument("--program", type=Path, help="pentimento's side, if it is built already")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "benchmarks", help="folder of the results")
    return parser.parse_args()


def import_pytorch():
    """Refuses with what to do if PyTorch is not there."""
    try:
        import diffusers
        import safetensors
        import torch
    except ImportError as error:
        sys.exit(
            f"vs_pytorch.py: {error}. It measures against PyTorch and diffusers; install them with\n"
            f"  pip install -r {Path(__file__).parent / 'requirements.txt'}"
        )
    return torch, diffusers


def main():
    options = arguments()
    if options.rounds < 1 or options.threads < 1:
        sys.exit("vs_pytorch.py: --rounds and --threads are at least 1")
    torch, diffusers = import_pytorch()
    torch.set_num_threads(options.threads)
    diffusers.utils.logging.set_verbosity_error()

    import results
    from pentimento_process import Pentimento, build
    from works import WORKS

    pentimento = Pentimento(options.program or build(), options.threads)
    machine = results.machine(pentimento, options.threads)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only or WORK_NAMES:
            for number, prepare in enumerate(WORKS[name]):
                torch.manual_seed(0)
                say(f"{name}: preparing")
                work = prepare(pentimento, Path(folder) / f"{name}-{number}", options.quick)
                agree(work)
                rounds = min(options.rounds, work.rounds or options.rounds)
                times, processor, peaks, shares = measure(work, rounds, options.patience, pentimento)
                entry = results.entry(name, work, times, processor, peaks, shares, machine)
                found.append(entry)
                print(results.text(entry), flush=True)
                if not options.quick:
                    results.write(options.output, found)
    pentimento.close()


def measure(work, rounds, patience_minutes, pentimento):
    """Alternating rounds. Those that others disturbed are made again for some minutes; if then too few are undisturbed,
    all count, and the result says how busy the machine was."""
    import contention
    import results

    processes = [pentimento.process.pid]
    begin = time.monotonic()
    deadline = begin + 60 * patience_minutes
    made, undisturbed = [], []
    while len(undisturbed) < rounds and (len(made) < rounds or time.monotonic() < max(deadline, begin + AGAIN_SECONDS)):
        say(f"{work.title}: round {len(made) + 1}, {len(undisturbed)} of {rounds} were undisturbed")
        contention.wait_for_others(processes, deadline)
        watch = contention.Watch(processes)
        peak = results.peak(pentimento)
        seconds = {}
        for variant, run in work.variants.items():
            own = contention.Watch(processes)
            wall, processor = run(), own.processor_seconds()
            scale = work.scales.get(variant, 1) / work.repeats
            seconds[variant] = (wall * scale, processor and processor * scale)
        made.append((seconds, peak, watch.share_of_others()))
        undisturbed = [entry for entry in made if (entry[2] or 0) < contention.DISTURBED]
    made = undisturbed if len(undisturbed) >= rounds else made
    times = {variant: [seconds[variant][0] for seconds, _, _ in made] for variant in work.variants}
    processor = {variant: [seconds[variant][1] for seconds, _, _ in made] for variant in work.variants}
    return times, processor, [peak for _, peak, _ in made], [share for _, _, share in made]


def agree(work):
    """Both sides must have done the same work. f32 rounds at 6e-8; a gradient or a trajectory sums thousands of these."""
    for what, difference in work.agreement.items():
        if not difference < LARGEST_DIFFERENCE:
            sys.exit(f"{work.title}: the two sides differ, {what}: {difference:.2e}, allowed is {LARGEST_DIFFERENCE:.0e}")


def say(line):
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
