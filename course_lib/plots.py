"""How the course draws: one matplotlib style and the few pictures that several pages share."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import torch
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

# The palette of Okabe and Ito, which readers with colour-blindness can tell apart.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
INK = "#222222"
GREY = "#767676"

# A class has a colour and a shape, so that no picture depends on colour alone.
CLASS_COLOURS = (BLUE, ORANGE)
CLASS_MARKERS = ("o", "s")
_CLASS_TINTS = ListedColormap(["#DCEAF5", "#FCEFD2"])


def use_style() -> None:
    """Set the course's matplotlib style: readable on a phone, a light card on a dark page."""
    mpl.rcParams.update(
        {
            "figure.figsize": (6, 3.6),
            "figure.dpi": 150,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "font.size": 14,
            "axes.titlesize": 13,
            "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY]),
            "xtick.labelsize": 13,
            "ytick.labelsize": 13,
            "axes.edgecolor": GREY,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "lines.linewidth": 2,
            "legend.frameon": False,
        }
    )


def two_classes(ax: Axes, x: Tensor, y: Tensor, size: float = 36) -> None:
    """Draw the rows of ``x``, shape ``(n, 2)``, with the colour and shape of their class."""
    for label, (colour, marker) in enumerate(zip(CLASS_COLOURS, CLASS_MARKERS, strict=True)):
        points = x[y == label]
        ax.scatter(
            points[:, 0],
            points[:, 1],
            s=size,
            c=colour,
            marker=marker,
            edgecolors="white",
            linewidths=0.7,
            zorder=3,
            label=f"class {label}",
        )


def decision_regions(
    ax: Axes,
    predict: Callable[[Tensor], Tensor],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
) -> None:
    """Tint the plane by the class, 0 or 1, that ``predict`` gives each point."""
    columns, rows = torch.linspace(*xlim, 240), torch.linspace(*ylim, 240)
    grid = torch.cartesian_prod(rows, columns).flip(1)
    with torch.no_grad():
        classes = predict(grid).reshape(240, 240)
    ax.imshow(
        classes,
        origin="lower",
        extent=(*xlim, *ylim),
        cmap=_CLASS_TINTS,
        vmin=0,
        vmax=1,
        aspect="auto",
        zorder=0,
        interpolation="nearest",
    )
    if classes.unique().numel() == 2:
        ax.contour(columns, rows, classes, levels=[0.5], colors=INK, linewidths=1)
    ax.set(xlim=xlim, ylim=ylim)


def metrics(path: str | Path) -> Figure:
    """Draw a run from the metrics file of a ``Monitor``: losses, gradient norms, learning rates."""
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    steps = [line for line in lines if "lr" in line]
    evaluations = [line for line in lines if "lr" not in line]
    fig, axes = plt.subplots(3, 1, figsize=(6, 5.8), sharex=True)
    rows = (("loss", BLUE), ("grad_norm", GREEN), ("lr", ORANGE))
    for ax, (name, colour) in zip(axes, rows):
        values = [line[name] for line in steps]
        ax.plot([line["step"] for line in steps], values, color=colour, lw=1.4)
        ax.set(ylabel={"grad_norm": "gradient norm", "lr": "learning rate"}.get(name, name))
        if name != "lr" and not any(value <= 0 for value in values):
            ax.set_yscale("log")  # else a single high peak would make a flat line of the rest
    if evaluations:
        places = [line["step"] - 1 for line in evaluations]
        losses = [line["loss"] for line in evaluations]
        axes[0].plot(places, losses, "o", color=VERMILLION, label="validation")
        axes[0].legend()
    axes[2].set(xlabel="step")
    return fig
