"""Measure the course's training loop on a GPU, and what the sources claim of GPUs.

Three networks learn from data that are made on the GPU: a small MLP (its kernels take less time
than it takes to start them), a residual network on images of 32 x 32, and a GPT of 124 million
parameters on tokens of a Markov chain. Every candidate makes the same steps: AdamW (fused),
gradients clipped, warm-up and cosine, loss and norm kept of every step. In the same precision the
first losses are compared with those of the bare loop.

- bare: the loop by hand, in the plainest way;
- fit: the course's, also with torch.compile, with GraphedStep, and with both;
- hand-tuned: a CUDA graph made by hand for this one network, also with torch.compile;
- PyTorch Lightning and the Hugging Face Trainer, where they are installed: lean with everything off
  that they can do without, default as they come. They train for a few steps and for many, and the
  difference counts, so that their start is not in it; the start of all others is.

Then: what precision costs in time and memory, checkpointing, optimizers and kernels (the same
comparisons as in the other benchmarks). The card's ceilings are measured, and shares are told of
them and of the vendor's figures.

It all fits into --budget seconds: what would not end in time is left out, and the results say so.
They are written after every part. Without a GPU: --device cpu --try shows that everything works,
and keeps no times.
"""

import gc
import importlib
import importlib.util
import itertools
import json
import logging
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

# A lent machine has the repository, but the course is not installed there.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("COURSE_LIB_OVERLAY", str(Path(__file__).resolve().parents[1] / "solutions"))

import bench_kernels
import bench_optimizers
import numpy as np
import torch
import torch.nn.functional as F
from benchmark import (
    Times,
    command,
    command_line,
    in_short,
    machine,
    paired,
    require_quiet,
    spread,
    store,
    tell,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.cuda_graphs import GraphedStep
from course_lib.stability import warmup_cosine
from course_lib.training import (
    LossScaler,
    ResumableLoader,
    fit,
    set_numerics,
    train_step,
    why_missing,
)

MAX_NORM = 1.0
FIRST = 20
"""Steps whose losses are compared with the bare loop's."""

Results = dict[str, Any]


# --- the card -------------------------------------------------------------------------------------


class Peak(NamedTuple):
    """What the vendor says that a card can do: TFLOP/s without sparsity, and TB/s."""

    bf16: float
    tf32: float
    fp32: float
    memory: float

    def of(self, precision: str) -> float:
        return {"fp32": self.fp32, "TF32": self.tf32}.get(precision, self.bf16)


PEAKS = {
    "NVIDIA H200": Peak(989.4, 494.7, 66.9, 4.8),
    "NVIDIA H100 80GB HBM3": Peak(989.4, 494.7, 66.9, 3.35),
    "NVIDIA H100 PCIe": Peak(756, 378, 51.2, 2.0),
    "NVIDIA A100-SXM4-80GB": Peak(312, 156, 19.5, 2.039),
    "NVIDIA A100 80GB PCIe": Peak(312, 156, 19.5, 1.935),
    "NVIDIA A100-SXM4-40GB": Peak(312, 156, 19.5, 1.555),
    "NVIDIA L40S": Peak(362, 183, 91.6, 0.864),
    "NVIDIA L4": Peak(121, 60, 30.3, 0.3),
    "NVIDIA A10": Peak(125, 62.5, 31.2, 0.6),
    "NVIDIA GeForce RTX 4090": Peak(165.2, 82.6, 82.6, 1.008),
    "NVIDIA GeForce RTX 3090": Peak(71, 35.6, 35.6, 0.936),
}
"""By the name that torch gives the card. Source: NVIDIA's data sheets of these products, and for
the GeForce cards its papers on the GA102 and Ada architectures (with float32 accumulation)."""


class Precision(NamedTuple):
    """What float32 factors may be rounded to, and what autocast takes instead."""

    tf32: bool
    autocast: torch.dtype | None = None

    def begin(self) -> None:
        set_numerics(tf32=self.tf32)

    def context(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, self.autocast, enabled=self.autocast is not None)


PRECISIONS = {
    "fp32": Precision(tf32=False),
    "TF32": Precision(tf32=True),
    "bf16": Precision(tf32=True, autocast=torch.bfloat16),
    "fp16": Precision(tf32=True, autocast=torch.float16),
}
"""fp16 has its loss scaled."""


# --- the networks and their data ------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """A network and what it learns.

    Attributes:
        unit: what is counted in a second.
        make: returns the network.
        x, y: all examples and their targets, on the device; an example may have many targets.
        batch_size: examples in a step; the number of examples is a multiple of it.
        steps: of one call that is timed.
        compile_loss: is the loss worth compiling too?
    """

    name: str
    unit: str
    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    batch_size: int
    steps: int
    compile_loss: bool = False

    @property
    def device(self) -> torch.device:
        return self.x.device

    @property
    def units_per_step(self) -> int:
        return self.batch_size * self.y[0].numel()

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        with self.device:
            return self.make().train()

    def schedule(self, step: int) -> float:
        warmup_steps = min(10, self.steps)
        return warmup_cosine(step, max_lr=3e-4, warmup_steps=warmup_steps, max_steps=self.steps)

    def orders(self) -> Iterator[Tensor]:
        """Yield for every step the examples of its batch, in the order of a ResumableLoader."""
        for epoch in itertools.count():
            seed = np.random.SeedSequence((0, epoch)).generate_state(1)
            generator = torch.Generator().manual_seed(int(seed[0]))
            order = torch.randperm(len(self.x), generator=generator)
            if self.device.type == "cuda":
                order = order.pin_memory()  # else the copy would wait for the GPU
            yield from order.to(self.device, non_blocking=True).split(self.batch_size)

    @cached_property
    def flops_per_step(self) -> int:
        """The arithmetic of the products in forward and backward, counted without computing."""
        with torch.device("meta"):
            model = self.make()
        x, y = (
            torch.empty_like(part[: self.batch_size], device="meta") for part in (self.x, self.y)
        )
        # Written out, attention is products too.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            mean_loss(model(x), y).backward()
        return counter.get_total_flops()


def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def mlp(device: torch.device, trial: bool) -> Workload:
    """Return a network for examples like scikit-learn's digits."""
    n, steps = (256, 4) if trial else (1792, 280)
    rng = torch.Generator(device).manual_seed(0)
    x = torch.randn(n, 64, generator=rng, device=device)
    y = torch.randint(10, (n,), generator=rng, device=device)

    def make() -> nn.Module:
        first, second, last = nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    return Workload("MLP", "samples", make, x, y, batch_size=64, steps=steps)


class ResNet(nn.Module):
    """Nine layers for images of 32 x 32, two of the blocks residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(3, width),
            nn.Sequential(convolution(width, 2 * width), nn.MaxPool2d(2)),
            Residual(2 * width),
            nn.Sequential(convolution(2 * width, 4 * width), nn.MaxPool2d(2)),
            nn.Sequential(convolution(4 * width, 8 * width), nn.MaxPool2d(2)),
            Residual(8 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def convolution(n_in: int, n_out: int) -> nn.Sequential:
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU())


def resnet(device: torch.device, trial: bool) -> Workload:
    n, batch_size, width, steps = (24, 8, 4, 2) if trial else (50_000, 500, 64, 40)
    rng = torch.Generator(device).manual_seed(0)
    x = torch.randn(n, 3, 32, 32, generator=rng, device=device)
    y = torch.randint(10, (n,), generator=rng, device=device)

    x = x.contiguous(memory_format=torch.channels_last)
    return Workload("ResNet", "samples", partial(ResNet, width), x, y, batch_size, steps)


class GPT(nn.Module):
    """A transformer in the sizes of GPT-2; the embedding is the last layer too."""

    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.tokens(x) + self.positions)
        return F.linear(self.norm(x), self.tokens.weight)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(up, nn.GELU(approximate="tanh"), down)

    def forward(self, x: Tensor) -> Tensor:
        queries_keys_values = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = queries_keys_values.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norm2(x))


def gpt(device: torch.device, trial: bool) -> Workload:
    if trial:
        sizes, batch_size, steps = GPTSizes(64, 16, 2, 2, 16), 2, 2
    else:  # a multiple of 64 is a faster vocabulary than 50257
        memory = torch.cuda.get_device_properties(device).total_memory / 1e9
        batch_size = 16 if memory > 60 else 8 if memory > 35 else 4 if memory > 20 else 2
        sizes, steps = GPTSizes(50_304, 1024, 12, 12, 768), 8
    tokens = markov_chain(32 * batch_size, sizes.length + 1, sizes.vocabulary, device)
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    make = partial(GPT, *sizes)
    return Workload("GPT", "tokens", make, x, y, batch_size, steps, compile_loss=True)


class GPTSizes(NamedTuple):
    vocabulary: int
    length: int
    layers: int
    heads: int
    width: int


def markov_chain(n: int, length: int, vocabulary: int, device: torch.device) -> Tensor:
    """Return n sequences in which every token has four others that may follow it."""
    rng = torch.Generator(device).manual_seed(0)
    tokens = torch.randint(vocabulary, (n, length), generator=rng, device=device)
    ways = torch.randint(4, (n, length), generator=rng, device=device)
    for place in range(1, length):
        tokens[:, place] = (31 * tokens[:, place - 1] + 7 + ways[:, place]) % vocabulary
    return tokens


# --- ways to train them ---------------------------------------------------------------------------


class Loop:
    """A way to train a workload, in one precision.

    Attributes:
        long: the steps of a call that is timed.
        short: the steps of another call, whose time and number go off; 0 where none is needed.
    """

    short = 0

    def __init__(self, workload: Workload, precision: str, compiled: bool = False) -> None:
        self.workload, self.device = workload, workload.device
        self.precision = PRECISIONS[precision]
        self.long = workload.steps
        self.model, self.loss_fn = workload.model(), mean_loss
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        if compiled:
            self.model = compile_(self.model, self.device)
        if compiled and workload.compile_loss:
            self.loss_fn = compile_(mean_loss, self.device)

    def __call__(self, steps: int) -> list[float]:
        """Train for some more steps, and return their losses."""
        self.precision.begin()
        return self.train(steps)

    def train(self, steps: int) -> list[float]:
        raise NotImplementedError


def compile_(part: Any, device: torch.device) -> Any:
    # A trial on a CPU need not wait for a C++ compiler.
    return torch.compile(part, backend="inductor" if device.type == "cuda" else "aot_eager")


class Bare(Loop):
    """The loop by hand, in the plainest way."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.orders = self.workload.orders()

    def train(self, steps: int) -> list[float]:
        losses, norms = list[Tensor](), list[Tensor]()
        for step, indices in zip(range(steps), self.orders):
            for group in self.optimizer.param_groups:
                group["lr"] = self.workload.schedule(step)
            x, y = self.workload.x[indices], self.workload.y[indices]
            with self.precision.context(self.device):
                loss = self.loss_fn(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM))
            self.optimizer.step()
            losses.append(loss.detach())
        torch.stack(norms).tolist()
        return torch.stack(losses).tolist()


class Fit(Loop):
    """The course's loop."""

    def __init__(self, *args: Any, graphed: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.step = GraphedStep() if graphed else train_step
        self.scaler = LossScaler() if self.precision.autocast == torch.float16 else None
        work = self.workload
        self.loader = ResumableLoader(work.x, work.y, batch_size=work.batch_size)

    def train(self, steps: int) -> list[float]:
        history = fit(
            self.model,
            self.loader,
            self.loss_fn,
            self.optimizer,
            max_epochs=sys.maxsize,
            max_steps=steps,
            max_norm=MAX_NORM,
            schedule=self.workload.schedule,
            scaler=self.scaler,
            autocast_dtype=self.precision.autocast,
            step=self.step,
            device=self.device,
        )
        return history["loss"]


class HandTuned(Loop):
    """What somebody writes who knows this one network, and CUDA graphs."""

    def __init__(self, workload: Workload, precision: str, compiled: bool = False) -> None:
        super().__init__(workload, precision)
        self.orders = workload.orders()
        self.batch = [part[: workload.batch_size].clone() for part in (workload.x, workload.y)]
        self.lr = torch.zeros((), device=self.device)
        self.params = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.params, lr=self.lr, fused=True, capturable=True)

        def forward(x: Tensor, y: Tensor) -> Tensor:
            return mean_loss(self.model(x), y)

        # Network and loss as one, so that what lies between them is compiled too.
        self.forward = compile_(forward, self.device) if compiled else forward
        self.precision.begin()
        self.replay = self.capture() if self.device.type == "cuda" else self.step

    def step(self) -> None:
        with self.precision.context(self.device):
            loss = self.forward(*self.batch)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.params, MAX_NORM)
        self.optimizer.step()
        self.loss_and_norm = torch.stack([loss.detach(), norm])

    def capture(self) -> Callable[[], None]:
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
            # The learning rate was 0; with the moments forgotten nothing is left of these steps.
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream):
            self.step()
        return graph.replay

    def train(self, steps: int) -> list[float]:
        kept = torch.empty(steps, 2, device=self.device)
        for step, indices in zip(range(steps), self.orders):
            self.lr.fill_(self.workload.schedule(step))
            for place, part in zip(self.batch, (self.workload.x, self.workload.y)):
                torch.index_select(part, 0, indices, out=place)
            self.replay()
            kept[step].copy_(self.loss_and_norm)
        return kept[:, 0].tolist()


class Framework(Loop):
    """A framework's own loop. It is started anew in every call."""

    def __init__(self, workload: Workload, precision: str, lean: bool) -> None:
        super().__init__(workload, precision)
        self.lean = lean
        self.long = max(16, workload.steps)
        self.short = self.long // 8
        self.orders = workload.orders()

    def __call__(self, steps: int) -> list[float]:
        """Train as ever, but let nothing of what frameworks tell come through."""
        logging.disable(logging.WARNING)
        try:
            with ExitStack() as stack:
                stack.enter_context(warnings.catch_warnings(action="ignore"))
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(redirect_stdout(nowhere))
                stack.enter_context(redirect_stderr(nowhere))
                return super().__call__(steps)
        finally:
            logging.disable(logging.NOTSET)


class Batches:
    """The batches of a call; in a dictionary if they have names."""

    def __init__(
        self, workload: Workload, orders: Iterator[Tensor], steps: int, *names: str
    ) -> None:
        self.workload, self.orders, self.steps, self.names = workload, orders, steps, names

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for _, indices in zip(range(self.steps), self.orders):
            batch = self.workload.x[indices], self.workload.y[indices]
            yield dict(zip(self.names, batch)) if self.names else batch


class Lightning(Framework):
    def train(self, steps: int) -> list[float]:
        import lightning

        loop, losses = self, list[Tensor]()

        class Module(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.network = loop.model

            def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
                loss = mean_loss(self.network(batch[0]), batch[1])
                losses.append(loss.detach())
                return loss

            def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
                # With gradient_clip_val Lightning refuses a fused optimizer in mixed precision.
                nn.utils.clip_grad_norm_(self.parameters(), MAX_NORM)

            def configure_optimizers(self) -> Any:
                for group in loop.optimizer.param_groups:
                    group["lr"] = group["initial_lr"] = 1.0
                rate = torch.optim.lr_scheduler.LambdaLR(loop.optimizer, loop.workload.schedule)
                scheduler = {"scheduler": rate, "interval": "step"}
                return {"optimizer": loop.optimizer, "lr_scheduler": scheduler}

        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                precision="bf16-mixed" if self.precision.autocast else "32-true",
                max_steps=steps,
                default_root_dir=folder,
                barebones=self.lean,
            )
            trainer.fit(Module(), Batches(self.workload, self.orders, steps))
        return torch.stack(losses).tolist()


class WithLoss(nn.Module):
    """A network as Hugging Face's Trainer takes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": mean_loss(self.network(x), labels)}


class HuggingFace(Framework):
    LEAN: ClassVar[dict[str, Any]] = {
        "report_to": "none",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }

    def train(self, steps: int) -> list[float]:
        import transformers

        batches = Batches(self.workload, self.orders, steps, "x", "labels")

        class Trainer(transformers.Trainer):
            def get_train_dataloader(self) -> Any:
                return batches

        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=self.workload.batch_size,
                learning_rate=3e-4,
                lr_scheduler_type="cosine",
                warmup_steps=min(10, steps),
                max_grad_norm=MAX_NORM,
                optim="adamw_torch_fused",
                bf16=self.precision.autocast is not None,
                use_cpu=self.device.type == "cpu",
                **self.LEAN if self.lean else {},
            )
            Trainer(WithLoss(self.model), arguments, train_dataset=[None] * steps).train()
        return []


BARE, HAND_TUNED, HAND_COMPILED = "bare", "hand-tuned", "hand-tuned, compiled"
LIGHTNING = "Lightning, lean"
REFERENCES = (BARE, HAND_TUNED, HAND_COMPILED, LIGHTNING)
"""What the others are compared with, as far as it is there."""

FRAMEWORKS: dict[str, Callable[..., Loop]] = {
    LIGHTNING: partial(Lightning, lean=True),
    "Lightning, default": partial(Lightning, lean=False),
    "Hugging Face Trainer, lean": partial(HuggingFace, lean=True),
    "Hugging Face Trainer, default": partial(HuggingFace, lean=False),
}
LOOPS: dict[str, Callable[..., Loop]] = {
    BARE: Bare,
    "fit": Fit,
    "fit, compiled": partial(Fit, compiled=True),
    "fit, graph": partial(Fit, graphed=True),
    "fit, compiled, graph": partial(Fit, compiled=True, graphed=True),
    HAND_TUNED: HandTuned,
    HAND_COMPILED: partial(HandTuned, compiled=True),
    **FRAMEWORKS,
}


def installed() -> list[str]:
    """Return those of the frameworks that can be imported."""
    needs = {"Lightning": ["lightning"], "Hugging Face Trainer": ["transformers", "accelerate"]}
    there = {
        name for name, packages in needs.items() if all(map(importlib.util.find_spec, packages))
    }
    return [kind for kind in FRAMEWORKS if kind.split(",")[0] in there]


# --- the benchmark --------------------------------------------------------------------------------


class Benchmark:
    """All parts, as far as there is time for them.

    Attributes:
        results: what is stored.
        measured: are times worth keeping? They are on a GPU.
    """

    def __init__(self, device: torch.device, options: Any) -> None:
        self.device, self.options = device, options
        self.measured = device.type == "cuda"
        self.seconds = 0.2 if self.measured else 0.0
        self.few_rounds = min(3, options.rounds)
        self.end = time.perf_counter() + options.budget
        self.frameworks = [] if options.only else installed()
        about = machine(device)
        self.peak = PEAKS.get(about.get("gpu", ""))
        self.results: Results = {
            "command": command(),
            "machine": about,
            "peak": self.peak and self.peak._asdict(),
            "ceilings": {},
            "device": device.type,
            "trial": options.trial,
            "rounds": options.rounds,
            "budget": options.budget,
            "workloads": {},
            "precision": {},
            "left_out": [],
            "failed": {},
        }

    def parts(self) -> dict[str, tuple[float, Callable[[], None]]]:
        """Return what is measured, with the seconds that it may take."""
        make = {"MLP": mlp, "GPT": gpt, "ResNet": resnet}
        workloads = {
            name: partial(function, self.device, self.options.trial)
            for name, function in make.items()
        }
        kinds = [BARE, "fit", "fit, compiled", "fit, graph", HAND_TUNED]
        all_compiled = ["fit, compiled, graph", HAND_COMPILED]
        precisions = ["bf16"] if self.options.trial else ["bf16", "TF32", "fp32"]
        small = [(kind, precision) for precision in precisions for kind in kinds]
        small += [(kind, "bf16") for kind in [*all_compiled, *self.frameworks]]
        lean = [kind for kind in self.frameworks if "lean" in kind]
        large = [(kind, "bf16") for kind in [*kinds[:3], *all_compiled, *lean]]
        return {
            "ceilings": (15, self.ceilings),
            "MLP": (100, partial(self.compare, workloads["MLP"], small)),
            "GPT": (110, partial(self.compare, workloads["GPT"], large)),
            "ResNet": (80, partial(self.compare, workloads["ResNet"], large)),
            **{
                f"precision, {name}": (20, partial(self.compare_precisions, workload))
                for name, workload in workloads.items()
            },
            "checkpointing": (25, self.checkpointing),
            "optimizers": (20, self.optimizers),
            "kernels": (25, self.kernels),
        }

    def run(self) -> None:
        for name, (needed, part) in self.parts().items():
            if self.left() < needed:
                self.results["left_out"].append(name)
                continue
            tell(f"{name} ({self.left():.0f} s left)")
            self.attempt(name, part)
            self.results["used"] = self.options.budget - self.left()
            self.save()

    def left(self) -> float:
        return self.end - time.perf_counter()

    def attempt(self, name: str, part: Callable[[], Any]) -> Any:
        """Run a part; one that fails is noted, and the others go on."""
        try:
            return part()
        except Exception as error:
            self.results["failed"][name] = in_short(error)
            tell(f"{name} failed: {in_short(error)}")
            return None
        finally:
            clean_up(self.device)

    def save(self) -> None:
        store(self.results, self.options.to)

    def timed(
        self, candidates: Mapping[str, Callable[[], object]], title: str, rounds: int
    ) -> Times:
        return paired(
            candidates,
            rounds=rounds,
            seconds=self.seconds,
            device=self.device,
            title=title,
        )

    def ceilings(self) -> None:
        """Measure how fast the card multiplies matrices and copies, in TFLOP/s and TB/s."""
        n = 8192 if self.measured else 64
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
        factors = {
            name: torch.randn(2, n, n, device=self.device).to(dtypes.get(name, torch.float32))
            for name in PRECISIONS
        }

        def multiply(name: str) -> None:
            PRECISIONS[name].begin()
            torch.mm(*factors[name])

        source = torch.randn(n * n, device=self.device)
        target = torch.empty_like(source)
        candidates: dict[str, Callable[[], object]] = {
            name: partial(multiply, name) for name in PRECISIONS
        }
        candidates["copy"] = lambda: target.copy_(source)
        times = self.timed(candidates, "ceilings", self.few_rounds)
        work = {**dict.fromkeys(PRECISIONS, 2 * n**3), "copy": 2 * source.nbytes}
        figures = {
            name: spread([work[name] / seconds / 1e12 for seconds in row])
            for name, row in times.items()
        }
        if self.measured:
            self.results["ceilings"] = figures

    def compare(self, make: Callable[[], Workload], wanted: list[tuple[str, str]]) -> None:
        """Time a network in all ways to train it."""
        workload = make()
        self.results["workloads"][workload.name] = about = {
            "unit": workload.unit,
            "batch_size": workload.batch_size,
            "units_per_step": workload.units_per_step,
            "parameters": sum(param.numel() for param in workload.model().parameters()),
            "flops_per_step": workload.flops_per_step,
        }
        torch.compiler.reset()  # the kinds of one network are few, those of all would be too many
        loops, rows = dict[str, Loop](), dict[str, Results]()
        for kind, precision in wanted:
            name = f"{kind}, {precision}"
            if self.left() < 40:
                self.results["left_out"].append(f"{workload.name}: {name}")
                continue
            made = self.attempt(
                f"{workload.name}: {name}",
                partial(begin, LOOPS[kind], workload, precision),
            )
            if made is not None:
                loops[name], first = made
                rows[name] = {"kind": kind, "precision": precision, "first_losses": first}
        for row in rows.values():
            row["difference_to_bare"] = difference(row, rows.get(f"{BARE}, {row['precision']}"))
        about["candidates"] = rows
        self.save()
        times = self.seconds_per_step(loops, workload.name, self.options.rounds)
        for name, row in rows.items():
            others = [kind for kind in REFERENCES if f"{kind}, {row['precision']}" in rows]
            figures = self.speed(workload, row["precision"], times[name])
            figures["time_ratios"] = {
                kind: spread(divide(times[name], times[f"{kind}, {row['precision']}"]))
                for kind in others
            }
            if self.measured:
                row |= figures

    def seconds_per_step(self, loops: Mapping[str, Loop], title: str, rounds: int) -> Times:
        calls: dict[str, Callable[[], object]] = {}
        for name, loop in loops.items():
            calls[name] = partial(loop, loop.long)
            if loop.short:
                calls[f"{name}, short"] = partial(loop, loop.short)
        times = self.timed(calls, title, rounds)
        for name, loop in loops.items():
            starts = times.pop(f"{name}, short") if loop.short else [0.0] * rounds
            steps = loop.long - loop.short
            times[name] = [(all_ - start) / steps for all_, start in zip(times[name], starts)]
        return times

    def speed(self, workload: Workload, precision: str, seconds: list[float]) -> Results:
        middle = spread(seconds)["median"]
        tflops = workload.flops_per_step / middle / 1e12
        figures: Results = {
            "seconds_per_step": spread(seconds),
            f"{workload.unit}_per_second": workload.units_per_step / middle,
            "tflops": tflops,
        }
        if self.peak is not None:
            figures["share_of_peak"] = tflops / self.peak.of(precision)
        if ceiling := self.results["ceilings"].get(precision):
            figures["share_of_ceiling"] = tflops / ceiling["median"]
        return figures

    def compare_precisions(self, make: Callable[[], Workload]) -> None:
        """Time `fit` in every precision, and measure its memory."""
        workload = make()
        memory, loops = dict[str, Results](), dict[str, Loop]()
        for precision in PRECISIONS:
            loops[precision], memory[precision] = with_memory(workload, precision)
        times = self.seconds_per_step(loops, f"{workload.name}, precision", self.few_rounds)
        rows = {
            precision: {
                **self.speed(workload, precision, times[precision]),
                "times_as_fast": spread(divide(times["fp32"], times[precision])),
                **memory[precision],
            }
            for precision in PRECISIONS
        }
        self.results["precision"][workload.name] = rows if self.measured else {}

    def checkpointing(self) -> None:
        PRECISIONS["TF32"].begin()
        width, tokens, depths = 768, 1024, [4, 9, 16, 25, 36, 49, 64]
        if not self.measured:
            width, tokens, depths = 16, 8, [4, 9]
        device, rounds = self.device.type, self.options.rounds
        blocks = bench_kernels.compare_checkpoints(device, width, tokens, rounds, self.seconds)
        self.results["checkpointing"] = self.kept(blocks)
        self.results["depth"] = bench_kernels.memory_by_depth(device, depths)

    def optimizers(self) -> None:
        device, rounds = self.device.type, self.options.rounds
        rows = [
            bench_optimizers.compare("AdamW", network, device, rounds, self.seconds / 2)
            for network in bench_optimizers.NETWORKS
            if self.measured or network == "MLP"
        ]
        self.results["optimizers"] = {"comparisons": [self.kept(row) for row in rows]}

    def kernels(self) -> None:
        PRECISIONS["fp32"].begin()
        device, rounds = self.device.type, self.options.rounds
        rows = [
            bench_kernels.compare_kernel(kernel, device, rounds, self.seconds / 2)
            for kernel in bench_kernels.kernels(16 if self.measured else 1, device)
        ]
        self.results["kernels"] = [self.kept(row) for row in rows]

    def kept(self, found: Results) -> Results:
        """Return what another benchmark's comparison has found, on a CPU without the times."""
        times = {"seconds", "time_ratios", "to_torch", "to_foreach"}
        return {key: found[key] for key in found if self.measured or key not in times}


def begin(
    make: Callable[..., Loop], workload: Workload, precision: str
) -> tuple[Loop, list[float]]:
    """Return a loop that has made its first steps (it may compile in them), and their losses."""
    loop = make(workload, precision)
    losses = loop(min(FIRST, workload.steps))
    if not all(map(math.isfinite, losses)):
        raise FloatingPointError("a loss is not finite")
    return loop, losses


def difference(row: Results, bare: Results | None) -> float | None:
    """Return the largest relative difference of the first losses, if both have any."""
    if bare is None or not row["first_losses"]:
        return None
    pairs = zip(row["first_losses"], bare["first_losses"], strict=True)
    return max(abs(mine - theirs) / theirs for mine, theirs in pairs)


def divide(values: list[float], others: list[float]) -> list[float]:
    return [value / other for value, other in zip(values, others, strict=True)]


def with_memory(workload: Workload, precision: str) -> tuple[Loop, Results]:
    """Return `fit` in a precision, warm, and the megabytes that it needs.

    ``memory_mb`` is everything at its most: weights, gradients, the optimizer's state and what a
    step keeps. ``step_mb`` is how much of it a step takes and gives back.
    """
    clean_up(workload.device)
    before = allocated(workload.device)
    loop = Fit(workload, precision)
    loop(workload.steps)
    between = allocated(workload.device)
    if workload.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(workload.device)
    loop(2)
    peak = 0
    if workload.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(workload.device)
    return loop, {"memory_mb": (peak - before) / 1e6, "step_mb": (peak - between) / 1e6}


def allocated(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device)


def clean_up(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def measured_on(results: Path) -> str | None:
    return json.loads(results.read_text())["device"] if results.exists() else None


def main() -> None:
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="(cuda)")
    parser.add_argument(
        "--budget", type=float, default=460, metavar="SECONDS", help="for everything (460)"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(f"There is no GPU: {why_missing('cuda')}. Without one: --device cpu --try.")
    if device.type == "cpu" and not options.trial:
        parser.error("a CPU is no GPU: to see that everything works, add --try")
    if device.type == "cpu" and measured_on(options.to) == "cuda":
        parser.error(f"{options.to.name} holds what a GPU has done: name another file with --to")
    if device.type == "cpu":
        torch.set_num_threads(1)
    if options.trial:
        options.rounds = 1
    require_quiet()
    benchmark = Benchmark(device, options)
    try:
        benchmark.run()
    except KeyboardInterrupt:
        sys.exit(f"Stopped: {options.to} has what was measured until then.")
    for name in benchmark.results["left_out"]:
        tell(f"left out: {name}")
    if benchmark.results["failed"]:
        sys.exit(f"{len(benchmark.results['failed'])} parts failed: see {options.to}.")


if __name__ == "__main__":
    main()
