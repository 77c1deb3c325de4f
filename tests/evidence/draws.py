#!/usr/bin/env python3
"""How scores and their intervals come along with the number of draws: a table and a plot.

    python3 draws.py PENTIMENTO RUN KEPT OUT [METHODS]

PENTIMENTO is the program, RUN the run of a kept bank's network with one group of draws (`--set gradients.groups=1`), KEPT
docs/results/banks/mnist (docs/results/banks.md), METHODS names with commas. RUN's recipe gets 1, 2, 4, 8 and 16 groups of draws in turn, and
each time METHODS are asked about the samples and about 24 held-out images and judged by what KEPT's networks made of them. Gradients of fewer
draws stay in use. OUT.csv gets a line for each method, set and number of draws: the linear datamodelling score in % with its interval
over subsets, and the width of a score's interval over draws as a share of the standard deviation of a query's scores, the median over
training images, mean over queries. OUT.svg draws them.
"""

import csv
import statistics
import sys
from pathlib import Path

from judged import SETS, export, judged, scored, set_in_recipe

GROUPS = [1, 2, 4, 8, 16]
COLOURS = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1"]


def main():
    program, run, kept, out = sys.argv[1:5]
    methods = sys.argv[5] if len(sys.argv) > 5 else "influence-cg,influence,d-trak"
    rows = []
    for groups in GROUPS:
        set_in_recipe(run, "groups", groups)
        for method in methods.split(","):
            for queries in SETS:
                array, table = f"{out}.scores.npy", f"{out}.scores.csv"
                scored(program, run, queries, method, array)
                export(program, run, queries, method, table)
                values, relative = judged(program, kept, queries, array)[0], width(table)
                rows.append([method, queries, 10 * groups, *values, "" if relative is None else round(relative, 3)])
                Path(array).unlink()
                Path(table).unlink()
                print(*rows[-1], flush=True)
        write(out, rows)


def width(table):
    """The median width of intervals as a share of the standard deviation of scores, mean over queries; none without intervals."""
    queries = {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            queries.setdefault(row["query"], []).append(row)
    if any(row["low"] == "" for rows in queries.values() for row in rows):
        return None
    of_query = [
        statistics.median(float(row["high"]) - float(row["low"]) for row in rows)
        / statistics.pstdev(float(row["score"]) for row in rows)
        for rows in queries.values()
    ]
    return statistics.mean(of_query)


def write(out, rows):
    with open(f"{out}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "queries", "draws", "score", "low", "high", "interval_width"])
        writer.writerows(rows)
    Path(f"{out}.svg").write_text(plot(rows))


def plot(rows):
    """Two panels beside each other: the score with its interval, and the width of intervals over draws."""
    lines = {}
    for row in rows:
        lines.setdefault((row[0], row[1]), []).append(row)
    width_of = lambda row: None if row[6] == "" else row[6]
    most = [max(row[5] for row in rows), max([width_of(row) or 0 for row in rows] + [0.1])]
    parts = []
    for panel, (title, top) in enumerate(zip(["linear datamodelling score in %", "width of an interval / spread of scores"], most)):
        left = 50 + 390 * panel
        x = lambda draws: left + 320 * (GROUPS.index(draws // 10) + 0.5) / len(GROUPS)
        y = lambda value: 270 - 220 * max(value, 0) / (1.05 * top)
        parts.append(f'<text x="{left}" y="30" font-weight="bold">{title}</text>')
        for tick in range(5):
            value = top * tick / 4
            parts.append(f'<line x1="{left}" x2="{left + 320}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.{0 if panel == 0 else 2}f}</text>')
        for groups in GROUPS:
            parts.append(f'<text x="{x(10 * groups):.1f}" y="290" text-anchor="middle">{10 * groups}</text>')
        parts.append(f'<text x="{left + 160}" y="308" text-anchor="middle">draws of each training image</text>')
        for number, (key, points) in enumerate(lines.items()):
            colour = COLOURS[sorted({method for method, _ in lines}).index(key[0]) % len(COLOURS)]
            dash = "" if key[1] == "samples" else ' stroke-dasharray="6 4"'
            values = [(row[2], row[3] if panel == 0 else width_of(row)) for row in points]
            values = [(draws, value) for draws, value in values if value is not None]
            path = " ".join(f"{x(draws):.1f},{y(value):.1f}" for draws, value in values)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            parts.extend(f'<circle cx="{x(draws):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for draws, value in values)
            if panel == 0:
                shift = 4 * number - 2 * len(lines)
                for row in points:
                    at = x(row[2]) + shift
                    parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(row[4]):.1f}" y2="{y(row[5]):.1f}" stroke="{colour}" opacity="0.5"/>')
                    # Beside the legend, which is below both panels.
                place, line = 50 + 260 * (number % 3), 335 + 20 * (number // 3)
                parts.append(f'<line x1="{place}" x2="{place + 24}" y1="{line}" y2="{line}" stroke="{colour}" stroke-width="2"{dash}/>')
                parts.append(f'<text x="{place + 30}" y="{line + 4}">{key[0]}, {key[1]}</text>')
    height = 350 + 20 * ((len(lines) - 1) // 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-family="sans-serif" font-size="12" fill="#222">'
        f'<rect width="860" height="{height}" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


if __name__ == "__main__":
    main()
