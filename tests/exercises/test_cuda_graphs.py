"""The step as a CUDA graph against the ordinary step.

Where there is no GPU it must be the ordinary step; that it could be captured is then tested on
fake tensors, which have a device and no numbers: whatever would wait for a GPU fails with them.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.testing import assert_close
from torch.testing._internal.distributed.fake_pg import FakeStore

from course_lib import optimizers
from course_lib.cuda_graphs import WARM_UP, GraphedStep, make_capturable
from course_lib.training import LossScaler, ResumableLoader, fit, train_step

cross_entropy = nn.functional.cross_entropy
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CAPTURABLE: dict[str, Callable[..., Any]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "AdamW, foreach": partial(torch.optim.AdamW, foreach=True),
    "AdamW, fused": partial(torch.optim.AdamW, fused=True),
    "SGD, fused": partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01, fused=True),
}
"""Optimizers that can be captured."""
OTHERS: dict[str, Callable[..., Any]] = {
    "SGD": torch.optim.SGD,
    "NAdam": torch.optim.NAdam,
    "Adagrad": torch.optim.Adagrad,
    "LBFGS": torch.optim.LBFGS,
    "the course's AdamW": optimizers.AdamW,
}


def network(device: str = "cpu", dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(16, 3)).to(device)


def loader(device: str = "cpu") -> ResumableLoader:
    """Return six batches an epoch, the last of which is short."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(44, 4, generator=rng), torch.randint(3, (44,), generator=rng)
    return ResumableLoader(x.to(device), y.to(device), batch_size=8)


def schedule(step: int) -> float:
    return 0.01 * (1 + math.cos(math.pi * step / 60))


def train(model: nn.Module, optimizer: Any, **options: Any) -> dict[str, list]:
    device = next(model.parameters()).device
    return fit(
        model,
        loader(str(device)),
        cross_entropy,
        optimizer,
        max_norm=0.5,
        schedule=schedule,
        device=device,
        **{"max_epochs": 9, **options},
    )


# --- without a GPU --------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, optimizers.AdamW])
def test_on_the_cpu_it_is_the_ordinary_step_to_the_last_bit(
    make: Callable[..., Any], accumulate: int
) -> None:
    ordinary, graphed = network(dropout=0.3), network(dropout=0.3)
    histories = []
    for model, step in [(ordinary, train_step), (graphed, GraphedStep())]:
        torch.manual_seed(1)
        optimizer = make(model.parameters(), lr=0.02)
        histories.append(train(model, optimizer, accumulate=accumulate, step=step))
    assert histories[0] == histories[1]
    for one, other in zip(ordinary.state_dict().values(), graphed.state_dict().values()):
        assert torch.equal(one, other)


def test_a_scaler_that_is_enabled_is_refused_and_another_is_not() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    for scaler in (LossScaler(), torch.amp.GradScaler("cpu")):
        with pytest.raises(ValueError, match="without a scaler"):
            train(model, optimizer, scaler=scaler, step=GraphedStep())
    history = train(model, optimizer, scaler=LossScaler(enabled=False), step=GraphedStep())
    assert len(history["loss"]) == 54


@pytest.fixture
def two_processes() -> Iterator[None]:
    """Be one of two processes, of which the other does not exist."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("two_processes")
def test_several_processes_are_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="one process"):
        train(model, torch.optim.AdamW(model.parameters()), step=GraphedStep())


@pytest.mark.parametrize("name", OTHERS)
def test_an_optimizer_with_numbers_on_the_cpu_is_refused_unchanged(name: str) -> None:
    optimizer = OTHERS[name](network().parameters(), lr=0.1)
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(ValueError, match=r"cannot become part of a CUDA graph.*fused=True"):
        make_capturable(optimizer)
    assert optimizer.param_groups == before


def test_the_courses_optimizer_is_refused_also_with_the_options_of_torchs() -> None:
    model = network()
    optimizer = optimizers.AdamW(model.parameters())
    optimizer.load_state_dict(torch.optim.AdamW(model.parameters()).state_dict())
    with pytest.raises(ValueError, match="cannot become part"):
        make_capturable(optimizer)


# --- on a GPU that has no numbers -----------------------------------------------------------------


def fake_steps(make: Callable[..., Any], prepare: Callable[[Any], None]) -> None:
    """Clip gradients and make steps as they are captured: the learning rate is a tensor too."""
    with FakeTensorMode(), torch.device("cuda"):
        params = [torch.empty(16, 4), torch.empty(16), torch.empty(3, 16)]
        optimizer = make(params, lr=0.1)
        for number in range(3):
            for param in params:
                param.grad = torch.empty_like(param)
            norm = nn.utils.clip_grad_norm_(params, max_norm=1.0)
            optimizer.step()
            assert norm.is_cuda
            if number == 0:
                prepare(optimizer)
                optimizer.param_groups[0]["lr"] = torch.empty(())


@pytest.mark.parametrize("name", ["Adam", "AdamW", "AdamW, foreach"])
def test_no_part_of_an_optimizers_step_asks_the_gpu_for_a_number(name: str) -> None:
    fake_steps(CAPTURABLE[name], make_capturable)


def test_an_optimizer_that_asks_for_a_number_is_seen() -> None:
    with pytest.raises(DataDependentOutputException):
        fake_steps(torch.optim.SGD, prepare=lambda optimizer: None)


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.fixture
def never_wait() -> Iterator[Callable[[str], None]]:
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


class Replays(GraphedStep):
    """Counts the steps that were replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def _replay(self, batch: Any, optimizer: Any) -> Any:
        self.count += 1
        return super()._replay(batch, optimizer)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("name", CAPTURABLE)
def test_54_steps_are_those_of_the_ordinary_step(name: str) -> None:
    """With a schedule, clipping, batch norm's buffers and a short batch in between."""
    ordinary, graphed, step = network("cuda"), network("cuda"), Replays()
    expected = train(ordinary, CAPTURABLE[name](ordinary.parameters(), lr=0.02))
    optimizer = CAPTURABLE[name](graphed.parameters(), lr=0.02)
    history = train(graphed, optimizer, step=step)
    assert step.count == 9 * 5 - WARM_UP
    assert history["lr"] == expected["lr"]
    # A learning rate that is a float32 tensor rounds otherwise, and 54 steps add that up.
    for key in ("loss", "grad_norm"):
        values = torch.tensor(history[key])
        assert_close(values, torch.tensor(expected[key]), rtol=1e-3, atol=1e-5)
    assert_close(weights(graphed), weights(ordinary), rtol=1e-3, atol=1e-4)
    assert optimizer.param_groups[0]["lr"] == schedule(53)
    assert len(set(history["loss"])) > 50


@pytest.mark.cuda
@needs_cuda
def test_dropout_draws_new_numbers_in_every_replay() -> None:
    model = network("cuda", dropout=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    step, batch = Replays(), next(iter(loader("cuda")))
    losses = [step(model, [batch], cross_entropy, optimizer).loss for _ in range(20)]
    assert step.count == 20 - WARM_UP
    assert len(set(torch.stack(losses).tolist())) > 15


@pytest.mark.cuda
@needs_cuda
def test_a_replayed_step_never_waits_for_the_gpu(never_wait: Callable[[str], None]) -> None:
    model, step = network("cuda"), Replays()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    batch = next(iter(loader("cuda")))
    for _ in range(WARM_UP + 1):
        step(model, [batch], cross_entropy, optimizer, max_norm=1.0, autocast_dtype=torch.bfloat16)
    never_wait("error")
    for _ in range(5):
        result = step(
            model, [batch], cross_entropy, optimizer, max_norm=1.0, autocast_dtype=torch.bfloat16
        )
    assert step.count == 6
    assert result.loss.is_cuda


@pytest.mark.cuda
@needs_cuda
def test_gradients_are_those_of_the_last_step_also_after_an_ordinary_one() -> None:
    model, step = network("cuda"), Replays()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
    full = [next(iter(loader("cuda")))]
    short = [tuple(part[:3] for part in full[0])]
    for micro_batches in [full] * (WARM_UP + 1) + [short, full]:
        step(model, micro_batches, cross_entropy, optimizer)
    assert step.count == 2
    gradients = [param.grad.clone() for param in model.parameters()]
    train_step(model, full, cross_entropy, optimizer)
    assert_close(gradients, [param.grad for param in model.parameters()])


@pytest.mark.cuda
@needs_cuda
def test_a_run_goes_on_from_a_loaded_state_with_a_new_graph() -> None:
    """Loading gives the optimizer other tensors; a graph from before would change the old."""
    ordinary, graphed, step = network("cuda"), network("cuda"), Replays()
    expected = torch.optim.AdamW(ordinary.parameters(), lr=0.02)
    optimizer = torch.optim.AdamW(graphed.parameters(), lr=0.02)
    train(ordinary, expected)
    train(graphed, optimizer, step=step)
    optimizer.load_state_dict(optimizer.state_dict())
    expected.load_state_dict(expected.state_dict())
    train(ordinary, expected)
    train(graphed, optimizer, step=step)
    assert step.count == 2 * (9 * 5 - WARM_UP)
    assert_close(weights(graphed), weights(ordinary), rtol=1e-2, atol=1e-3)


@pytest.mark.cuda
@needs_cuda
def test_a_step_that_waits_for_the_gpu_is_told_so() -> None:
    def waits(outputs: Tensor, targets: Tensor) -> Tensor:
        loss = cross_entropy(outputs, targets)
        return loss if loss.item() > 0 else -loss

    model, step = network("cuda"), GraphedStep()
    optimizer, batch = torch.optim.AdamW(model.parameters()), next(iter(loader("cuda")))
    for _ in range(WARM_UP):
        step(model, [batch], waits, optimizer)
    with pytest.raises(RuntimeError, match=r"waits for the GPU.*item"):
        step(model, [batch], waits, optimizer)
    assert isinstance(optimizer.param_groups[0]["lr"], float)
