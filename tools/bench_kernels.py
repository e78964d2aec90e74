"""Measure the course's layers and its checkpointing against torch's: time and peak memory.

Kernels: convolution, normalisations, activations and cross-entropy, forward and backward, by the
same call of the references and of `torch.nn.functional`. They must agree before they are timed. On
a GPU torch's convolution computes in TF32 by default, the course's in float32.

Checkpointing: a stack of 12 transformer blocks without it, with the course's and with torch's two
ways; the gradients are compared bit by bit. Then the peak memory of stacks of many depths L, cut
into sqrt(L) segments, with two fits by least squares: a * sqrt(L) + b and a * L + b.

Memory is what forward and backward allocate beyond inputs, weights and the weights' gradients. On
a CPU it is read from the log of torch's allocator (`torch.profiler` with `profile_memory`), which
sees what operations allocate inside too, but not what a library below torch (oneDNN) takes for
itself. On a GPU it is `torch.cuda.max_memory_allocated`.

On a GPU: --device cuda --to FILE.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import correlation, linear_regression
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from benchmark import (
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
from torch.profiler import ProfilerActivity, profile

from course_lib import activations, checkpointing, convolution, losses, normalization

TOLERANCE = 2e-3
"""Between a kernel and torch's: room for TF32, which torch's convolutions take on a GPU."""
BLOCKS = 12
DEPTHS = (4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144)
"""Squares: with other depths the last segment is longer, and it keeps its activations."""

COURSE = SimpleNamespace(
    conv2d=convolution.conv2d,
    batch_norm=normalization.batch_norm,
    layer_norm=normalization.layer_norm,
    rms_norm=normalization.rms_norm,
    group_norm=normalization.group_norm,
    softmax=activations.softmax,
    gelu=activations.gelu,
    cross_entropy=losses.cross_entropy,
)
"""The references under the names that they have in torch.nn.functional."""


# --- kernels --------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """A call, the same for the course and for torch, and the tensors that it gets."""

    name: str
    call: Callable[..., Tensor]
    """Takes the library and the tensors."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the tensors, all of which get a gradient."""


def kernels(batch: int, device: str) -> list[Kernel]:
    images, tokens, vocabulary = (batch, 64, 16, 16), (batch, 128, 256), 1000
    target = torch.arange(batch * 128, device=device) % vocabulary
    return [
        Kernel(
            "conv2d, 3 to 32 channels",
            lambda f, x, weight, bias: f.conv2d(x, weight, bias, padding=1),
            ((batch, 3, 32, 32), (32, 3, 3, 3), (32,)),
        ),
        Kernel(
            "conv2d, 64 to 64 channels",
            lambda f, x, weight, bias: f.conv2d(x, weight, bias, padding=1),
            (images, (64, 64, 3, 3), (64,)),
        ),
        Kernel(
            "batch_norm",
            lambda f, x, weight, bias: f.batch_norm(x, None, None, weight, bias, training=True),
            (images, (64,), (64,)),
        ),
        Kernel(
            "group_norm",
            lambda f, x, weight, bias: f.group_norm(x, 8, weight, bias),
            (images, (64,), (64,)),
        ),
        Kernel(
            "layer_norm",
            lambda f, x, weight, bias: f.layer_norm(x, weight.shape, weight, bias),
            (tokens, (256,), (256,)),
        ),
        Kernel(
            "rms_norm",
            lambda f, x, weight: f.rms_norm(x, weight.shape, weight),
            (tokens, (256,)),
        ),
        Kernel("softmax", lambda f, x: f.softmax(x, -1), (tokens,)),
        Kernel("gelu", lambda f, x: f.gelu(x), (tokens,)),
        Kernel(
            "cross_entropy",
            lambda f, x: f.cross_entropy(x, target),
            ((batch * 128, vocabulary),),
        ),
    ]


def compare_kernel(kernel: Kernel, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    generator = torch.Generator(device).manual_seed(0)
    draw = partial(torch.randn, generator=generator, device=device)
    inputs = [draw(shape).requires_grad_() for shape in kernel.shapes]
    gradient = draw(kernel.call(F, *inputs).shape)

    def run(library: Any) -> Sequence[Tensor]:
        output = kernel.call(library, *inputs)
        return [output, *torch.autograd.grad(output, inputs, gradient)]

    runs = {"torch": partial(run, F), "course": partial(run, COURSE)}
    apart = max(map(distance, runs["course"](), runs["torch"]()))
    if not apart < TOLERANCE:
        raise RuntimeError(f"{kernel.name}: course and torch differ by {apart:.1g}")
    return {
        "kernel": kernel.name,
        "shapes": kernel.shapes,
        "distance": apart,
        **timed(runs, device, rounds, seconds, kernel.name),
        **peaks(runs, device),
    }


def distance(result: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of what is expected."""
    return ((result - expected).norm() / expected.norm()).item()


# --- time and memory ------------------------------------------------------------------------------

Runs = Mapping[str, Callable[[], Any]]
"""What is compared, by name; torch's, or what is the plain way, is first."""


def timed(runs: Runs, device: str, rounds: int, seconds: float, title: str) -> dict[str, Any]:
    times = paired(runs, rounds=rounds, seconds=seconds, device=device, title=title)
    return {
        "seconds": {name: spread(row) for name, row in times.items()},
        "time_ratios": ratios(times, next(iter(runs))),
    }


def peaks(runs: Runs, device: str) -> dict[str, Any]:
    measure = peak_on_cpu if device == "cpu" else peak_on_gpu
    megabytes = {name: measure(run) / 1e6 for name, run in runs.items()}
    first = next(iter(megabytes.values()))
    return {
        "megabytes": megabytes,
        "memory_ratios": {name: peak / first for name, peak in megabytes.items()},
    }


def peak_on_cpu(run: Callable[[], Any]) -> int:
    """Return the most bytes that a run had allocated at once, by the log of torch's allocator."""
    os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler tells whenever it starts and stops
    with TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
            run()
        log.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    return max(accumulate(event["args"]["Bytes"] for event in changes), default=0)


def peak_on_gpu(run: Callable[[], Any]) -> int:
    run()  # libraries take memory when they are first used, and keep it
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


# --- checkpointing --------------------------------------------------------------------------------


def stack_of_blocks(depth: int, width: int, device: str) -> nn.Sequential:
    """Return transformer blocks, with gradients in place: they are no memory of a run's own."""
    torch.manual_seed(0)
    block = partial(nn.TransformerEncoderLayer, width, 4, 4 * width, activation=F.gelu)
    blocks = [block(batch_first=True, norm_first=True, device=device) for _ in range(depth)]
    stack = nn.Sequential(*blocks)
    for param in stack.parameters():
        param.grad = torch.zeros_like(param)
    return stack


def every_block(checkpoint: Callable[..., Tensor], stack: nn.Sequential, x: Tensor) -> Tensor:
    for block in stack:
        x = checkpoint(block, x)
    return x


def plain(block: nn.Module, x: Tensor) -> Tensor:
    return block(x)


CHECKPOINTS: dict[str, Callable[..., Tensor]] = {
    "none": plain,
    "course": checkpointing.checkpoint,
    "torch, reentrant": partial(torch.utils.checkpoint.checkpoint, use_reentrant=True),
    "torch, not reentrant": partial(torch.utils.checkpoint.checkpoint, use_reentrant=False),
}


def compare_checkpoints(
    device: str, width: int, tokens: int, rounds: int, seconds: float
) -> dict[str, Any]:
    stack = stack_of_blocks(BLOCKS, width, device)
    x = torch.randn(4, tokens, width, device=device, requires_grad=True)

    def run(checkpoint: Callable[..., Tensor]) -> None:
        every_block(checkpoint, stack, x).square().sum().backward()

    def gradients(checkpoint: Callable[..., Tensor]) -> list[Tensor]:
        stack.zero_grad(set_to_none=False)
        torch.manual_seed(0)  # the same dropout for all
        run(checkpoint)
        return [param.grad.clone() for param in stack.parameters() if param.grad is not None]

    expected = gradients(plain)
    equal = {
        name: all(map(torch.equal, gradients(checkpoint), expected))
        for name, checkpoint in CHECKPOINTS.items()
    }
    runs: Runs = {name: partial(run, checkpoint) for name, checkpoint in CHECKPOINTS.items()}
    return {
        "blocks": BLOCKS,
        "width": width,
        "tokens": 4 * tokens,
        "gradients_equal": equal,
        **timed(runs, device, rounds, seconds, f"{BLOCKS} blocks"),
        **peaks(runs, device),
    }


def memory_by_depth(device: str, depths: Sequence[int]) -> dict[str, Any]:
    """Return the peak memory of stacks with and without segments, and how it grows."""
    width, curves = 32, {"none": list[float](), "sqrt(L) segments": list[float]()}
    measure = peak_on_cpu if device == "cpu" else peak_on_gpu
    for depth in progress(depths, "memory by depth"):
        stack = stack_of_blocks(depth, width, device)
        x = torch.randn(8, 32, width, device=device, requires_grad=True)
        segments = partial(checkpointing.checkpoint_sequential, stack, round(math.sqrt(depth)))
        ways: dict[str, Callable[[Tensor], Tensor]] = {"none": stack, "sqrt(L) segments": segments}
        for name, forward in ways.items():
            curves[name].append(measure(partial(forward_and_backward, forward, x)) / 1e6)
    return {
        "depths": depths,
        "width": width,
        "tokens": 8 * 32,
        "megabytes": curves,
        "fits": {name: fits(depths, megabytes) for name, megabytes in curves.items()},
    }


def forward_and_backward(forward: Callable[[Tensor], Tensor], x: Tensor) -> None:
    forward(x).square().sum().backward()


def fits(depths: Sequence[int], megabytes: Sequence[float]) -> dict[str, dict[str, float]]:
    """Fit a * sqrt(L) + b and a * L + b by least squares."""
    return {
        "a * sqrt(L) + b": fit([math.sqrt(depth) for depth in depths], megabytes),
        "a * L + b": fit(depths, megabytes),
    }


def fit(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    line = linear_regression(x, y)
    return {"a": line.slope, "b": line.intercept, "r_squared": correlation(x, y) ** 2}


# --- the benchmark --------------------------------------------------------------------------------


def main() -> None:
    parser = command_line(__doc__, rounds=15)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    require_quiet()
    device, rounds, trial = options.device, options.rounds, options.trial
    seconds, batch = (0.01, 1) if trial else (0.2, 16)
    results: dict[str, Any] = {
        "command": command(),
        "machine": machine(device),
        "device": device,
        "rounds": rounds,
    }
    results["kernels"] = [
        compare_kernel(kernel, device, rounds, seconds) for kernel in kernels(batch, device)
    ]
    width, tokens = (16, 8) if trial else (256, 128)
    results["checkpointing"] = compare_checkpoints(device, width, tokens, rounds, seconds)
    results["depth"] = memory_by_depth(device, DEPTHS[:4] if trial else DEPTHS)
    store(results, options.to)


if __name__ == "__main__":
    main()
