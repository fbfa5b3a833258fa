"""Compare the time and memory of skmot with references, and print a table.

    python benchmarks/run.py                        all targets, at full scale
    python benchmarks/run.py --scale small          the same, smaller, in minutes
    python benchmarks/run.py --targets 1 6 regressions --json numbers.json
    python benchmarks/run.py --targets --estimates --figure doc/images/scaling.png

Both sides of a row are measured in the same run: they alternate several times, in
separate processes if memory or threads matter, and the fastest run of each counts.
Linear algebra uses one thread, except for target 6. `benchmarks/README.md` describes
the targets.
"""

import argparse
import json
import time
from importlib import import_module
from pathlib import Path

from measure import in_fresh_process, machine
from report import table

TARGETS = {
    "1": "target1_transport",
    "2": "target2_fit",
    "3": "target3_rotation",
    "4": "target4_many",
    "5": "target5_memory",
    "6": "target6_parallel",
    "7": "target7_search",
    "import": "importing",
    "geometries": "geometries",
    "large": "large_pairs",
    "regressions": "regressions",
    "sharing": "sharing",
    "sparse": "sparse_layers",
}


def main():
    """Run the selected benchmarks."""
    arguments = parse()
    found = in_fresh_process(machine)
    print("\n".join(f"{name}: {value}" for name, value in found.items()), flush=True)
    rows, seconds = [], {}
    modules = {target: TARGETS[target] for target in arguments.targets}
    if arguments.estimates:
        modules["estimates"] = "estimates"
    for name, module in modules.items():
        start = time.perf_counter()
        for row in import_module(module).rows(arguments.scale):
            rows.append(row)
            print(f"  {row.target}: {row.case}: {row.ratio:.2f}", flush=True)
        seconds[name] = time.perf_counter() - start
    if rows:
        print(f"\n{table(rows)}")
    points = None
    if arguments.figure:
        import figure

        points = figure.measure(arguments.scale)
        figure.draw(points, found, arguments.figure)
    if arguments.json:
        written = {
            "machine": found,
            "scale": arguments.scale,
            "rows": [row.as_dict() for row in rows],
            "seconds of each part": seconds,
            "figure": points,
        }
        arguments.json.write_text(json.dumps(written, indent=1, default=float) + "\n")


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    parser.add_argument(
        "--estimates", action="store_true", help="estimates beside what fits then take"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
