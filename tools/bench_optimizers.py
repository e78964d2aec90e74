"""Measure a step of the course's optimizers against the same step of torch.optim.

The reference SGD, Adam and AdamW, and the AdamW on one long vector that the book's page
"Optimisers" shows, run against torch's three ways to make a step: tensor after tensor (its default
on a CPU), `foreach` and `fused`. All have the same parameters and gradients: those of a small MLP,
and of a transformer of 12 blocks in two widths.

After 100 steps with ever new gradients it is noted how far each is from torch's tensor after
tensor; 0 is the same to the last bit. What zero_grad and backward cost is not in the times; to the
gradients in one vector backward must add. bench_loop.py has it.

On a GPU: --device cuda --to FILE.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from benchmark import (
    HOME,
    command,
    command_line,
    machine,
    paired,
    progress,
    ratios,
    require_quiet,
    spread,
    store,
)
from torch import Tensor, nn

from course_lib import optimizers

CHAPTER = HOME / "book" / "ml_core" / "optimizers.ipynb"
STEPS = 100
"""How many steps are made before the parameters are compared."""

Shapes = list[tuple[int, ...]]
Make = Callable[[list[Tensor]], Any]
"""Takes parameters, returns an optimizer."""


# --- what is compared -----------------------------------------------------------------------------


def mlp() -> Shapes:
    sizes = (64, 128, 128, 10)
    return [shape for n_in, n_out in pairwise(sizes) for shape in ((n_out, n_in), (n_out,))]


def transformer(width: int, vocabulary: int) -> Shapes:
    norm: Shapes = [(width,), (width,)]
    attention: Shapes = [(3 * width, width), (3 * width,), (width, width), (width,)]
    feed_forward: Shapes = [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    block = [*norm, *attention, *norm, *feed_forward]
    embeddings: Shapes = [(vocabulary, width), (128, width)]
    return [*embeddings, *12 * block, *norm, (vocabulary, width)]


NETWORKS = {
    "MLP": mlp(),
    "transformer, width 64": transformer(64, 256),
    "transformer, width 256": transformer(256, 512),
}
OPTIONS: dict[str, dict[str, float]] = {"SGD": {"momentum": 0.9}, "Adam": {}, "AdamW": {}}


def candidates(name: str) -> dict[str, Make]:
    """Return all ways to make the steps of an optimizer; torch's tensor after tensor is first."""
    theirs = partial(getattr(torch.optim, name), **OPTIONS[name])
    ways: dict[str, Make] = {
        "torch": partial(theirs, foreach=False),
        "torch, foreach": partial(theirs, foreach=True),
        "torch, fused": partial(theirs, fused=True),
        "course": partial(getattr(optimizers, name), **OPTIONS[name]),
    }
    if name == "AdamW":
        ways["course, one vector"] = chapters_class()
    return ways


def chapters_class() -> Make:
    """Return the class that a cell of the chapter defines."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    [source] = ["".join(cell["source"]) for cell in cells if cell["id"] == "flat-adamw"]
    names: dict[str, Any] = {"AdamW": optimizers.AdamW, "nn": nn, "torch": torch}
    exec(source, names)
    return names["FlatAdamW"]


class Candidate:
    """An optimizer, with parameters of its own."""

    def __init__(self, make: Make, start: Sequence[Tensor]) -> None:
        self.params = [param.clone().requires_grad_() for param in start]
        self.optimizer = make(self.params)

    def receive(self, gradients: Sequence[Tensor]) -> None:
        """Get gradients as from backward."""
        self.optimizer.zero_grad()
        torch.autograd.backward(self.params, gradients)

    def distance(self, other: "Candidate") -> float:
        """Return the largest difference of two parameters."""
        pairs = zip(self.params, other.params, strict=True)
        return max((mine - theirs).abs().max().item() for mine, theirs in pairs)


def draw(shapes: Shapes, scale: float, generator: torch.Generator) -> list[Tensor]:
    device = generator.device
    return [scale * torch.randn(shape, generator=generator, device=device) for shape in shapes]


# --- the benchmark --------------------------------------------------------------------------------


def compare(name: str, network: str, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Compare all ways to make the steps of one optimizer for one network."""
    shapes, generator = NETWORKS[network], torch.Generator(device).manual_seed(0)
    start = draw(shapes, 0.02, generator)
    ways = {way: Candidate(make, start) for way, make in candidates(name).items()}
    title = f"{name}, {network}"
    for _ in progress(range(STEPS), f"{title}: {STEPS} steps"):
        gradients = draw(shapes, 0.01, generator)
        for candidate in ways.values():
            candidate.receive(gradients)
            candidate.optimizer.step()
    distances = {way: candidate.distance(ways["torch"]) for way, candidate in ways.items()}

    times = paired(
        {way: candidate.optimizer.step for way, candidate in ways.items()},
        rounds=rounds,
        seconds=seconds,
        device=device,
        title=title,
    )
    return {
        "optimizer": name,
        "network": network,
        "tensors": len(shapes),
        "parameters": sum(param.numel() for param in start),
        "seconds": {way: spread(row) for way, row in times.items()},
        "to_torch": ratios(times, "torch"),
        "to_foreach": ratios(times, "torch, foreach"),
        "distance": distances,
    }


def main() -> None:
    parser = command_line(__doc__, rounds=15)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    require_quiet()
    results: dict[str, Any] = {
        "command": command(),
        "machine": machine(options.device),
        "device": options.device,
        "rounds": options.rounds,
        "options": OPTIONS,
        "steps": STEPS,
    }
    networks, seconds = (["MLP"], 0.01) if options.trial else ([*NETWORKS], 0.2)
    results["comparisons"] = [
        compare(name, network, options.device, options.rounds, seconds)
        for network in networks
        for name in OPTIONS
    ]
    store(results, options.to)


if __name__ == "__main__":
    main()
