"""What the benchmarks of grading found: how it is summed up, stored, and shown in the book."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmark import APPENDIX, QUIET, spread
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib import plots

SPEED, CLUSTER = APPENDIX / "grading_speed.json", APPENDIX / "grading_cluster.json"

IN_RUNS = ("notebook", "checks")
"""The stages of a submission that go on at the same time."""

Results = dict[str, Any]


# --- summing up -----------------------------------------------------------------------------------


def summary(results: Results) -> Results:
    """Return medians and spreads of the times and, from the same rounds, of the ratios.

    The first tool is the one that the others are compared with.
    """
    size = results["class"]["students"]
    probes = median(run["probes"] for run in results["floor"])
    stock = times(results, next(iter(results["workers"])))
    tools: Results = {}
    for tool, workers in results["workers"].items():
        own = times(results, tool)
        first = [run["graded_after"][0] for run in results["runs"] if run["tool"] == tool]
        tools[tool] = {
            "class_seconds": spread(own),
            "seconds_each": spread([seconds / size for seconds in own]),
            "times_as_fast": spread([theirs / ours for theirs, ours in zip(stock, own)]),
            "first_grade_seconds": spread(first),
            "share_of_probes": probes / workers / median(own),
        }
        if tool in results["unchanged"]:
            tools[tool]["unchanged_seconds"] = spread(results["unchanged"][tool])
    floor = {
        part: spread([run[part] / size for run in results["floor"]])
        for part in ("probes", "checks")
    }
    return {"tools": tools, "floor": floor, "memory_of_a_worker": memory_of_a_worker(results)}


def worked(stages: Mapping[str, float]) -> float:
    """Return the seconds of all stages; `runs` has in it those that go on at the same time."""
    return sum(seconds for stage, seconds in stages.items() if stage not in IN_RUNS)


def times(results: Results, tool: str) -> list[float]:
    """Return the seconds that a tool needs for the class, by round."""
    runs = sorted(results["runs"], key=lambda run: run["round"])
    return [run["class_seconds"] for run in runs if run["tool"] == tool]


def memory_of_a_worker(results: Results) -> float:
    """Return the MB of our engine with the most workers, shared out among them."""
    many = max(results["stages"], key=results["workers"].__getitem__)
    return float(results["memory"][many] / results["workers"][many])


def estimate(submissions: int, workers: int, figures: Results) -> float:
    """Return the seconds that a class takes.

    The workers share the work; the collector writes one submission after the other, meanwhile.

    Args:
        figures: `start`, the seconds before the first submission is begun; `worker`, those that a
            worker needs for one; `collector`, those that the collector needs for one.
    """
    shared, serial = figures["worker"] / workers, figures["collector"]
    return float(figures["start"] + submissions * max(shared, serial))


def figures_of(results: Results) -> Results:
    """Return the figures for `estimate` that our engine had with the most workers."""
    tool = max(results["stages"], key=results["workers"].__getitem__)
    all_stages = worked(results["stages"][tool])
    collector = results["stages"][tool]["gradebook"]
    measured = results["summary"]["tools"][tool]
    return {
        "workers": results["workers"][tool],
        "seconds": measured["class_seconds"]["median"],
        "start": measured["first_grade_seconds"]["median"] - all_stages,
        "worker": all_stages - collector,
        "collector": collector,
    }


# --- showing --------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """Return the comparison in Markdown; with more than one round the spread is in brackets."""
    tools = results["summary"]["tools"]
    columns = [
        [
            tool,
            f"{row['class_seconds']['median']:.0f} s",
            in_words(row["seconds_each"], ".2f", " s"),
            in_words(row["times_as_fast"], ".1f"),
            f"{row['share_of_probes']:.0%}",
            in_words(row["first_grade_seconds"], ".1f", " s"),
            in_words(row["unchanged_seconds"], ".1f", " s") if "unchanged_seconds" in row else "",
            f"{results['memory'][tool]:.0f} MB",
        ]
        for tool, row in tools.items()
    ]
    names = [
        "measured",
        f"{results['class']['students']} submissions",
        "one submission",
        "times as fast as stock",
        "share of the students' code",
        "first grade after",
        "again, unchanged",
        "memory (PSS)",
    ]
    return markdown(zip(names, *columns))


def caption(results: Results) -> str:
    """Return what must be known about the comparison."""
    return (
        f"In each round the first two graded {results['class']['subset']} of the submissions, and "
        "their time for all is reckoned from that pace. Memory is the largest proportional set "
        "size of all processes together, of the first two while they graded two submissions; ours "
        f"with four workers takes {results['summary']['memory_of_a_worker']:.0f} MB a worker. "
        f"The sandbox's level is {' and '.join(results['sandbox'])}. {where(results)}"
    )


def where(results: Results) -> str:
    """Return with what the results of a benchmark were measured."""
    machine, graded = results["machine"], results["class"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    load = machine["load_before"]
    return (
        f"Measured on {results['date'][:10]} with `{results['command']}`: {graded['students']} "
        f"submissions of `{graded['assignment']}`; {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gb']:.0f} GB; {versions}."
    ) + (f" **The machine was busy: its load was {load:.1f}.**" if load > QUIET else "")


def stage_table(results: Results) -> str:
    """Return where our engine's time goes, in Markdown: seconds for one submission."""
    stages: dict[str, dict[str, float]] = results["stages"]
    first = next(iter(stages.values()))
    rows = {
        f"{stage} (in runs)" if stage in IN_RUNS else stage: [
            seconds[stage] for seconds in stages.values()
        ]
        for stage in sorted(first, key=first.__getitem__, reverse=True)
    }
    rows["all stages"] = [worked(seconds) for seconds in stages.values()]
    rows["time that passed × workers"] = [
        results["summary"]["tools"][tool]["seconds_each"]["median"] * results["workers"][tool]
        for tool in stages
    ]
    lines = [[name, *(f"{value:.3f} s" for value in values)] for name, values in rows.items()]
    return markdown([["stage", *stages], *lines])


def estimate_table(results: Results, submissions: int) -> str:
    """Return how long many submissions take by `estimate`, in Markdown, and how far it is right."""
    figures, size = figures_of(results), results["class"]["students"]
    lines = [["workers", f"{submissions:,} submissions", "who is waited for"]]
    for workers in (4, 8, 16, 64):
        hours = estimate(submissions, workers, figures) / 3600
        slowest = "workers" if figures["worker"] / workers > figures["collector"] else "parent"
        lines.append([str(workers), f"{hours:.1f} hours", slowest])
    return markdown(lines) + (
        "\n\nHere $s$ = {worker:.2f} s, $c$ = {collector:.2f} s and $t_0$ = {start:.1f} s. For the "
        "{size} submissions and {workers} workers above, the formula gives {formula:.0f} s; they "
        "took {seconds:.0f} s."
    ).format(**figures, size=size, formula=estimate(size, figures["workers"], figures))


def cluster_table(results: Results) -> str:
    """Return how fast clusters are beside one machine, in Markdown."""
    lines = [["graded on", "time", "throughput", "by the formula", "*c*"]]
    for name, row in results["summary"].items():
        formula, collector = row.get("seconds_by_formula"), row.get("collector")
        lines.append(
            [
                name,
                f"{row['seconds']:.0f} s",
                in_words(row["throughput_ratio"], ".0%"),
                f"{formula:.0f} s" if formula else "",
                f"{collector:.2f} s" if collector else "",
            ]
        )
    return f"{markdown(lines)}\n\n{where(results)}"


def markdown(lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, whose first line is its head."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def in_words(values: dict[str, float], digits: str, unit: str = "") -> str:
    middle, lowest, highest = (
        f"{values[name]:{digits}}" for name in ("median", "lowest", "highest")
    )
    return f"{middle}{unit}" + (f" ({lowest} to {highest})" if lowest != highest else "")


def plot(results: Results) -> Figure:
    """Return the picture of the comparison: medians as bars, every round as a line across."""
    plots.use_style()
    fig, ax = plt.subplots()
    bars = seconds_each(results)
    colours = [plots.BLUE if label in results["stages"] else plots.GREY for label in bars]
    ax.barh([*bars], [*bars.values()], color=colours, height=0.6)
    for place, (label, seconds) in enumerate(bars.items()):
        rounds = [time / results["class"]["students"] for time in times(results, label)]
        ax.plot(rounds, [place] * len(rounds), "|", color=plots.INK, markersize=12)
        ax.text(max(rounds, default=seconds), place, f"  {seconds:.2f} s", va="center")
    ax.margins(x=0.35)
    ax.set_xlim(left=0)
    ax.invert_yaxis()
    ax.set_xlabel("seconds for one submission")
    return fig


def alternative(results: Results) -> str:
    """Return what the picture shows, in words."""
    told = "; ".join(f"{label} {time:.2f} s" for label, time in seconds_each(results).items())
    return f"Bars of the time that one submission takes: {told}."


def seconds_each(results: Results) -> dict[str, float]:
    """Return the median seconds for one submission: of every tool, and without any."""
    found = results["summary"]
    seconds = {tool: row["seconds_each"]["median"] for tool, row in found["tools"].items()}
    seconds["the checks alone"] = found["floor"]["checks"]["median"]
    seconds["the students' code alone"] = found["floor"]["probes"]["median"]
    return seconds
