"""What the benchmarks of the course's code found, as the book shows it: tables and plots."""

import json
from typing import Any

from benchmark import APPENDIX, QUIET
from grading_results import in_words, markdown
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib import plots

Results = dict[str, Any]
NOT_YET = (
    "**Not measured on a GPU yet.** `make bench-gpu` does it, in one call of less than 8 minutes."
)


def read(subject: str) -> Results | None:
    """Return the results of ``tools/bench_SUBJECT.py``, or None if it was never run."""
    path = APPENDIX / f"bench_{subject}.json"
    return json.loads(path.read_text()) if path.exists() else None


def where(results: Results) -> str:
    """Return with what results were measured."""
    machine = results["machine"]
    device = machine.get("gpu", f"one thread of {machine['cores']} cores ({machine['cpu']})")
    load = machine["load_before"]
    return (
        f"Measured on {machine['date'][:10]} with `{results['command']}`: {device}, "
        f"{machine['memory_gb']:.0f} GB, torch {machine['torch']}, Python {machine['python']}."
    ) + (f" **The machine was busy: its load was {load:.1f}.**" if load > QUIET else "")


def milliseconds(seconds: dict[str, float]) -> str:
    return f"{seconds['median'] * 1e3:.3g} ms"


# --- the training loop ----------------------------------------------------------------------------


def loop_table(results: Results, *titles: str) -> str:
    """Return the ratios of all loops' times to the loop by hand, a column for each comparison."""
    comparisons = [results["comparisons"][title] for title in titles]
    base, first = next(iter(comparisons[0]["ratios_to"].items()))
    lines = [["a step of", *titles]]
    for name in sorted(first, key=lambda name: first[name]["median"]):
        cells = [
            times_as_long(found["seconds"], found["ratios_to"][base], name, base)
            for found in comparisons
        ]
        lines.append([name, *cells])
    lines += [[name, reason] for name, reason in comparisons[0]["missing"].items()]
    return markdown(lines)


def times_as_long(seconds: dict[str, Any], ratios: dict[str, Any], name: str, base: str) -> str:
    """Return the time of what all are compared with, the ratio to it of anything else."""
    if name not in seconds:
        return ""
    return milliseconds(seconds[name]) if name == base else in_words(ratios[name], ".2f")


def loop_plot(results: Results, *titles: str) -> Figure:
    """Return the picture of the ratios, a panel for each comparison."""
    plots.use_style()
    rows = [len(results["comparisons"][title]["seconds"]) for title in titles]
    fig, axes = plt.subplots(
        len(titles), 1, figsize=(6, 0.36 * sum(rows) + 1.2 * len(titles)), height_ratios=rows
    )
    for ax, title in zip(axes, titles):
        found = results["comparisons"][title]
        base = next(iter(found["ratios_to"].values()))
        bars = dict(sorted(base.items(), key=lambda row: row[1]["median"]))
        colours = [plots.BLUE if name.startswith("fit") else plots.GREY for name in bars]
        ax.barh([*bars], [row["median"] for row in bars.values()], color=colours, height=0.6)
        for place, row in enumerate(bars.values()):
            ax.plot([row["lowest"], row["highest"]], [place] * 2, color=plots.INK, linewidth=1.4)
        ax.axvline(1, color=plots.INK, linewidth=1, linestyle=":")
        ax.invert_yaxis()
        ax.tick_params(labelsize=11)
        ax.set(title=title)
    axes[-1].set_xlabel("time of a step, as a multiple of the loop by hand")
    return fig


# --- optimizers -----------------------------------------------------------------------------------


def optimizer_table(results: Results) -> str:
    """Return the ratios of all optimizers' times to torch's default, a column for each network."""
    networks = {
        found["network"]: f"{found['tensors']} tensors, {found['parameters'] / 1e6:.2g} M"
        for found in results["comparisons"]
    }
    lines = [["optimizer", "made by", *networks.values(), "distance"]]
    for optimizer in dict.fromkeys(found["optimizer"] for found in results["comparisons"]):
        comparisons = [found for found in results["comparisons"] if found["optimizer"] == optimizer]
        for name in comparisons[0]["seconds"]:
            cells = [
                times_as_long(found["seconds"], found["to_torch"], name, "torch")
                for found in comparisons
            ]
            distance = max(found["distance"][name] for found in comparisons)
            told = "0" if distance == 0 else f"{distance:.0e}"
            lines.append([optimizer, name, *cells, told])
    return markdown(lines)


# --- the autograd engine --------------------------------------------------------------------------


def autograd_table(results: Results) -> str:
    """Return the time of a training step by every engine, as a multiple of torch's functions."""
    engines = list(dict.fromkeys(name for found in results["steps"] for name in found["to_torch"]))
    head = ["engine", *(f"H = {found['hidden']}" for found in results["steps"])]
    rows = [
        [
            name,
            *(
                in_words(found["to_torch"][name], ".3g") if name in found["to_torch"] else ""
                for found in results["steps"]
            ),
        ]
        for name in engines
    ]
    return markdown([head, *rows])


def graph_table(results: Results) -> str:
    """Return the time of the backward pass through two graphs that are hard for an engine."""
    lines = [["graph", "engine", "time", "times torch's"]]
    for found in results["graphs"]:
        for name, seconds in found["seconds"].items():
            ratio = in_words(found["to_torch"][name], ".3g")
            lines.append([found["graph"], name, milliseconds(seconds), ratio])
        lines += [[found["graph"], name, "", reason] for name, reason in found["failed"].items()]
    return markdown(lines)


# --- kernels and checkpointing --------------------------------------------------------------------


def kernel_table(results: Results) -> str:
    """Return time and peak memory of the course's functions as multiples of torch's own."""
    lines = [["function", "torch", "course", "time", "peak memory"]]
    for found in results["kernels"]:
        times = [milliseconds(found["seconds"][name]) for name in ("torch", "course")]
        ratio = in_words(found["time_ratios"]["course"], ".2f")
        memory = f"{found['memory_ratios']['course']:.2f}"
        lines.append([f"`{found['kernel']}`", *times, ratio, memory])
    return markdown(lines)


def checkpoint_table(results: Results) -> str:
    """Return time and peak memory of a stack of blocks with and without checkpoints."""
    found = results["checkpointing"]
    lines = [["checkpoints", "time", "ratio", "peak memory", "ratio"]]
    for name, seconds in found["seconds"].items():
        lines.append(
            [
                name,
                milliseconds(seconds),
                in_words(found["time_ratios"][name], ".2f"),
                f"{found['megabytes'][name]:.0f} MB",
                f"{found['memory_ratios'][name]:.2f}",
            ]
        )
    return markdown(lines)


def depth_plot(results: Results) -> Figure:
    """Return the curves of peak memory over depth, with the fit that is nearer."""
    plots.use_style()
    found = results["depth"]
    fig, ax = plt.subplots()
    looks = {"none": (plots.GREY, "s"), "sqrt(L) segments": (plots.BLUE, "o")}
    for name, megabytes in found["megabytes"].items():
        colour, marker = looks[name]
        ax.plot(found["depths"], megabytes, marker, color=colour, markersize=7)
        formula, line = best_fit(found["fits"][name])
        shape = {"a * L + b": float, "a * sqrt(L) + b": lambda depth: depth**0.5}[formula]
        curve = [line["a"] * shape(depth) + line["b"] for depth in found["depths"]]
        ax.plot(found["depths"], curve, color=colour, linewidth=1.4)
        ax.text(found["depths"][-1], megabytes[-1], f" {name}", color=colour, va="center")
    ax.margins(x=0.35)
    ax.set(xlabel="blocks L", ylabel="peak memory [MB]", xlim=(0, None), ylim=(0, None))
    return fig


def depth_in_words(results: Results) -> str:
    """Return which curve fits the memory."""
    told = []
    for name, fits in results["depth"]["fits"].items():
        formula, line = best_fit(fits)
        told.append(f"{name}: {formula}, R² = {line['r_squared']:.4f}")
    return f"Peak memory over depth, with the better of two fits. {'; '.join(told)}."


def best_fit(fits: dict[str, dict[str, float]]) -> tuple[str, dict[str, float]]:
    return max(fits.items(), key=lambda fit: fit[1]["r_squared"])


# --- a GPU -------------------------------------------------------------------------------------


def gpu_table(results: Results) -> str:
    """Return how fast every network learns, in every way to train it."""
    tables = []
    for title, found in results["workloads"].items():
        unit = found["unit"]
        head = (
            f"{title}, {found['parameters'] / 1e6:.3g} M parameters, {found['batch_size']} a batch"
        )
        lines = [
            [head, "precision", "a step", f"{unit}/s", "of the peak", "to bare", "to hand-tuned"]
        ]
        for row in found["candidates"].values():
            ratios = row["time_ratios"]
            hand = ratios.get("hand-tuned, compiled") or ratios.get("hand-tuned")
            lines.append(
                [
                    row["kind"],
                    row["precision"],
                    milliseconds(row["seconds_per_step"]),
                    f"{row[f'{unit}_per_second']:,.0f}",
                    f"{row['share_of_peak']:.1%}" if "share_of_peak" in row else "",
                    in_words(ratios["bare"], ".2f") if "bare" in ratios else "",
                    in_words(hand, ".2f") if hand else "",
                ]
            )
        tables.append(markdown(lines))
    return "\n\n".join(tables)


def precision_table(results: Results) -> str:
    """Return what each precision costs `fit` in time and memory."""
    lines = [["network", "precision", "a step", "times as fast", "memory", "of it a step's own"]]
    for title, rows in results["precision"].items():
        for precision, row in rows.items():
            lines.append(
                [
                    title,
                    precision,
                    milliseconds(row["seconds_per_step"]),
                    in_words(row["times_as_fast"], ".2f"),
                    f"{row['memory_mb']:,.0f} MB",
                    f"{row['step_mb']:,.0f} MB",
                ]
            )
    return markdown(lines)
