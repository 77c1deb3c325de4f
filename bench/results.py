"""What was measured, as data and as a table."""

import datetime
import json
import platform
import statistics
from pathlib import Path

import diffusers
import torch

from contention import DISTURBED

BEGIN, END = "<!-- vs_pytorch: begin -->\n", "<!-- vs_pytorch: end -->\n"


def peak(pentimento) -> float:
    """FLOP/s of fused multiply-adds between registers on all threads."""
    answer = pentimento.ask("peak")
    return answer["operations"] / answer["seconds"]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine(pentimento, threads: int) -> dict:
    """What the figures depend on."""
    about = pentimento.ask("about")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "threads": threads,
        "instructions": about["instructions"],
        "pentimento": about["version"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def spread(seconds: list[float]) -> dict:
    """Median, quartiles and extremes."""
    ordered = sorted(seconds)
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return {"median": middle, "quartiles": [low, high], "least": ordered[0], "most": ordered[-1], "rounds": len(ordered)}


def entry(name, work, times, processor, peaks, shares, where) -> dict:
    """Everything about one piece of work."""
    variants = {variant: spread(seconds) for variant, seconds in times.items()}
    rivals = {variant: found["median"] for variant, found in variants.items() if variant != "pentimento"}
    best = min(rivals, key=rivals.get)
    known = {v: statistics.median(seconds) for v, seconds in processor.items() if None not in seconds}
    work_of_rivals = [seconds for v, seconds in known.items() if v != "pentimento"]
    found = {
        "work": name,
        "title": work.title,
        "timed": work.timed,
        **where,
        "agreement": work.agreement,
        "seconds": variants,
        "best_rival": best,
        "ratio": rivals[best] / variants["pentimento"]["median"],
        "processor_seconds": known,
        "ratio_of_processor_seconds": min(work_of_rivals) / known["pentimento"] if work_of_rivals else None,
        "share_of_the_machine_used_by_others": None if None in shares else statistics.median(shares),
        "notes": work.notes,
        **work.extra,
    }
    if work.operations:
        # The best of the rounds: what disturbs a measurement only lowers it.
        found["peak_gflops"] = max(peaks) * 1e-9
        found["gflops"] = {v: work.operations / s["median"] * 1e-9 for v, s in variants.items()}
        found["fraction_of_peak"] = {v: gflops / found["peak_gflops"] for v, gflops in found["gflops"].items()}
    if work.unit:
        unit, amount = work.unit
        found["rate_unit"] = unit
        found["rate"] = {v: amount / s["median"] for v, s in variants.items()}
    return found


def duration(seconds: float) -> str:
    """A duration with three digits."""
    for unit, factor in [("s", 1), ("ms", 1e3), ("µs", 1e6)]:
        if seconds * factor >= 1:
            break
    value = seconds * factor
    # Bounds of what rounds to 100 and to 10.
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def text(entry: dict) -> str:
    """An entry for a person at a terminal."""
    lines = [f"{entry['title']}  [{entry['date']}]"]
    for variant, found in entry["seconds"].items():
        low, high = map(duration, found["quartiles"])
        line = f"  {variant:34} {duration(found['median']):>9}  (quartiles {low} to {high}, least {duration(found['least'])}, {found['rounds']} rounds)"
        if variant in entry["processor_seconds"]:
            line += f"  processor {duration(entry['processor_seconds'][variant])}"
        if "rate" in entry:
            line += f"  {entry['rate'][variant]:.1f} {entry['rate_unit']}"
        if "gflops" in entry:
            line += f"  {entry['gflops'][variant]:.0f} GFLOP/s, {entry['fraction_of_peak'][variant]:.0%} of peak"
        lines.append(line)
    lines.append(f"  pentimento is {entry['ratio']:.2f} times as fast as `{entry['best_rival']}`")
    if entry["ratio_of_processor_seconds"] is not None:
        lines[-1] += f"; by processor time {entry['ratio_of_processor_seconds']:.2f} times as fast as the best"
    lines += [f"  difference: {what}: {difference:.1e}" for what, difference in entry["agreement"].items()]
    if (share := entry["share_of_the_machine_used_by_others"]) is not None:
        lines.append(f"  others used {share:.0%} of the machine meanwhile")
    lines += [f"  note: {note}" for note in entry["notes"]]
    return "\n".join(lines)


def write(folder: Path, entries: list[dict]):
    """Puts entries into the JSON file and the table into the README; entries of other work stay."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vs_pytorch.json"
    kept = json.loads(file.read_text()) if file.exists() else []
    titles = {entry["title"] for entry in entries}
    everything = [entry for entry in kept if entry["title"] not in titles] + entries
    order = ["train-small", "train-large", "sample", "jacobian", "search", "adapter", "convolution", "layer"]
    everything.sort(key=lambda entry: order.index(entry["work"]))
    file.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    readme = folder / "README.md"
    page = readme.read_text() if readme.exists() else f"# Benchmarks\n\n{BEGIN}{END}"
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    readme.write_text(before + BEGIN + table(everything) + END + after)


def table(entries: list[dict]) -> str:
    """A Markdown table. Where others disturbed the measurement, processor time stands in for wall time."""
    lines = [
        "| work | pentimento | PyTorch's best, or the rival named | faster by | largest difference | threads | date |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        disturbed = (entry["share_of_the_machine_used_by_others"] or 0) > DISTURBED
        if disturbed and entry["ratio_of_processor_seconds"] is not None:
            seconds, ratio = entry["processor_seconds"], entry["ratio_of_processor_seconds"]
            best = min((variant for variant in seconds if variant != "pentimento"), key=seconds.get)
            mine, its = duration(seconds["pentimento"]), duration(seconds[best])
            shown_ratio = f"{ratio:.2f} by processor time (others used {entry['share_of_the_machine_used_by_others']:.0%})"
        else:
            best, ratio = entry["best_rival"], entry["ratio"]
            mine, its = (with_quartiles(entry["seconds"][variant]) for variant in ("pentimento", best))
            shown_ratio = f"{ratio:.2f}"
            if "fraction_of_peak" in entry:
                mine += f", {entry['fraction_of_peak']['pentimento']:.0%} of peak"
                its += f", {entry['fraction_of_peak'][best]:.0%} of peak"
        difference = max(entry["agreement"].values(), default=None)
        shown = "" if difference is None else f"{difference:.0e}"
        cells = [entry["title"], mine, f"{its}, {best}", shown_ratio, shown, str(entry["threads"]), entry["date"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_quartiles(found: dict) -> str:
    """A median with its quartiles."""
    low, high = map(duration, found["quartiles"])
    return f"{duration(found['median'])} ({low} to {high})"
