"""The reference training loop against torch, bare loops and a real kill; more wrong solutions."""

import inspect
import json
import math
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib.checking import Case, Check, Exam, Outputs, Result, same
from course_lib.checks import checks_of
from course_lib.checks import training as checks
from course_lib.training import (
    Checkpoint,
    LossScaler,
    Progress,
    ResumableLoader,
    evaluate,
    fit,
    keep_best,
    resolve_device,
    rng_state,
    set_numerics,
    set_rng_state,
    train_step,
)

cross_entropy = nn.functional.cross_entropy
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]


def data(n: int = 50, seed: int = 0, device: str = "cpu") -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=rng)
    return x.to(device), torch.randint(0, 3, (n,), generator=rng).to(device)


def network(seed: int = 0, dropout: float = 0.3) -> nn.Module:
    """A network with everything that makes a resume hard: batch norm's buffers and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)
    )


def plain_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def state_of(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().double() for value in model.state_dict().values()])


# --- resolve_device -------------------------------------------------------------------------------


def test_auto_is_a_device_on_which_one_can_compute() -> None:
    assert torch.ones(2, device=resolve_device()).sum().item() == 2


def test_a_device_of_no_known_kind_is_refused() -> None:
    with pytest.raises(RuntimeError):
        resolve_device("abacus")


def test_other_devices_are_taken_as_they_are() -> None:
    assert resolve_device("meta") == torch.device("meta")
    assert resolve_device(torch.device("cpu", 0)) == torch.device("cpu:0")


@pytest.mark.cuda
@needs_cuda
def test_cuda_devices_are_found_and_counted() -> None:
    assert resolve_device().type == "cuda"
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(RuntimeError, match=f"cuda:{torch.cuda.device_count()}"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


# --- LossScaler -----------------------------------------------------------------------------------


def test_the_scaler_takes_torchs_arguments_but_the_device() -> None:
    ours = inspect.signature(LossScaler.__init__).parameters
    theirs = dict(inspect.signature(torch.amp.GradScaler.__init__).parameters)
    del theirs["device"]
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    for name in ("scale", "unscale_", "state_dict", "load_state_dict", "get_scale"):
        mine, torchs = (getattr(cls, name) for cls in (LossScaler, torch.amp.GradScaler))
        assert list(inspect.signature(mine).parameters) == list(
            inspect.signature(torchs).parameters
        )


GRADIENTS = st.sampled_from([1.0, -3.0, 1e-30, 1e30, 0.0, math.inf, -math.inf, math.nan])
ROUNDS = st.lists(st.tuples(st.lists(GRADIENTS, min_size=3, max_size=3), st.booleans()))


@given(
    ROUNDS,
    st.sampled_from([2.0**16, 1.0, 1000.0]),
    st.sampled_from([2.0, 1.5]),
    st.sampled_from([0.5, 0.3]),
    st.integers(1, 3),
)
def test_the_scaler_goes_the_way_of_torchs(
    rounds: list, scale: float, growth: float, backoff: float, interval: int
) -> None:
    options = (scale, growth, backoff, interval)
    ways = []
    for scaler in (LossScaler(*options), checks.TorchScaler(*options)):
        params = [torch.zeros(1), torch.zeros(2)]
        optimizer = checks.Descent([params[0]], [params[1]])
        way = []
        for values, unscales in rounds:
            for param, gradient in zip(params, torch.tensor(values).split([1, 2])):
                param.grad = gradient * scaler.get_scale()
            if unscales:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            way += [torch.cat(params), torch.tensor(scaler.get_scale())]
        state = scaler.state_dict()
        ways.append([*way, *(torch.tensor(float(state[key])) for key in sorted(state))])
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other)


def test_a_scaler_goes_on_from_torchs_dictionary_and_back() -> None:
    theirs = checks.TorchScaler(8.0, growth_interval=3)
    ours = LossScaler()
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()
    theirs.load_state_dict(LossScaler(4.0).state_dict())
    assert theirs.get_scale() == 4


@pytest.mark.parametrize("options", [{"growth_factor": 1.0}, {"backoff_factor": 1.0}])
def test_factors_on_the_wrong_side_of_one_are_refused_as_in_torch(options: dict) -> None:
    for scaler in (LossScaler, checks.TorchScaler):
        with pytest.raises(AssertionError):
            scaler(**options)
        scaler(**options, enabled=False)


@pytest.mark.parametrize("scaler", [LossScaler, checks.TorchScaler])
def test_what_cannot_be_scaled_is_refused_as_in_torch(scaler: Any) -> None:
    with pytest.raises(AssertionError):
        scaler().update()
    with pytest.raises(AssertionError):
        scaler().step(checks.Descent([torch.zeros(2)]))
    half = torch.zeros(2, dtype=torch.float16)
    half.grad = half.clone()
    with pytest.raises(ValueError, match=r"(?i)float16|fp16"):
        scaler().unscale_(checks.Descent([half]))
    with pytest.raises(RuntimeError, match=r"enabled|disabled"):
        scaler().load_state_dict({})


def test_a_scaler_that_is_not_enabled_does_nothing() -> None:
    scaler = LossScaler(enabled=False)
    param = torch.zeros(2)
    param.grad = torch.tensor([1.0, math.inf])
    loss = torch.ones(())
    assert scaler.scale(loss) is loss
    assert scaler.step(checks.Descent([param])) == 1
    scaler.update()
    scaler.load_state_dict({})
    assert (scaler.get_scale(), scaler.state_dict()) == (1, {})


# --- train_step -----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from([None, 1e-3, 0.5, 100.0]),
    st.sampled_from([None, 1.0, 2.0**10]),
    st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_a_step_is_one_on_all_examples_at_once(
    sizes: list[int], max_norm: float | None, scale: float | None, seed: int
) -> None:
    x, y = data(sum(sizes), seed)
    x = x.double()
    split, whole = plain_network(seed), plain_network(seed)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in (split, whole)]
    for _ in range(3):
        result = train_step(
            split,
            list(zip(x.split(sizes), y.split(sizes))),
            cross_entropy,
            optimizers[0],
            scaler=None if scale is None else LossScaler(scale),
            max_norm=max_norm,
        )
        optimizers[1].zero_grad()
        loss = cross_entropy(whole(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(whole.parameters(), max_norm or math.inf)
        optimizers[1].step()
        torch.testing.assert_close(result.loss, loss.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(result.grad_norm, norm, rtol=1e-10, atol=1e-12)
        assert result.stepped is True
    # AdamW's first steps divide a gradient by its size: near zero that amplifies the rounding.
    torch.testing.assert_close(state_of(split), state_of(whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaler", [LossScaler(2.0**12), checks.TorchScaler(2.0**12)])
def test_torchs_scaler_and_ours_serve_alike(scaler: Any) -> None:
    model, (x, y) = plain_network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = state_of(model)
    bad = x.double().clone()
    bad[0, 0] = math.nan
    assert not train_step(model, [(bad, y)], cross_entropy, optimizer, scaler=scaler).stepped
    assert torch.equal(state_of(model), before)
    assert scaler.get_scale() == 2.0**11
    assert train_step(model, [(x.double(), y)], cross_entropy, optimizer, scaler=scaler).stepped
    assert not torch.equal(state_of(model), before)


def test_the_result_keeps_no_graph_and_the_parameters_stay_float32_under_autocast() -> None:
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    result = train_step(model, [(x, y)], cross_entropy, optimizer, autocast_dtype=torch.bfloat16)
    assert not result.loss.requires_grad
    assert not result.grad_norm.requires_grad
    assert {param.dtype for param in model.parameters()} == {torch.float32}
    assert {param.grad.dtype for param in model.parameters()} == {torch.float32}


# --- evaluate -------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32))
@settings(max_examples=40)
def test_an_evaluation_does_not_depend_on_the_batches(n: int, size: int, seed: int) -> None:
    x, y = data(n, seed)
    model = network(seed)
    before = state_of(model)
    result = evaluate(model, zip(x.split(size), y.split(size)), cross_entropy)
    assert model.training
    model.eval()
    outputs = model(x).detach()
    assert result["loss"] == pytest.approx(cross_entropy(outputs, y).item(), rel=1e-5)
    assert result["accuracy"] == pytest.approx((outputs.argmax(1) == y).float().mean().item())
    assert torch.equal(state_of(model), before)


# --- what a run is made of ------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**31), st.integers(0, 3))
def test_the_loader_gives_every_example_once_and_resumes_anywhere(
    n: int, size: int, seed: int, epoch: int
) -> None:
    items = torch.arange(n)
    loader = ResumableLoader(items, items + 100, batch_size=size, seed=seed)
    for _ in range(epoch):
        loader.next_epoch()
    batches = [one for one, _ in loader]
    assert len(batches) == len(loader)
    assert torch.equal(torch.cat(batches).sort().values, items)
    for position in range(len(loader) + 1):
        other = ResumableLoader(items, items + 100, batch_size=size)
        other.load_state_dict({**loader.state_dict(), "position": position})
        rest = list(other)
        assert len(rest) == len(batches) - position
        for (one, two), expected in zip(rest, batches[position:], strict=True):
            assert torch.equal(one, expected)
            assert torch.equal(two, one + 100)


def test_a_position_in_batches_of_another_size_is_refused() -> None:
    saved = ResumableLoader(torch.arange(9), batch_size=4).state_dict()
    with pytest.raises(ValueError, match="has batch_size=4, this one 2"):
        ResumableLoader(torch.arange(9), batch_size=2).load_state_dict(saved)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    items = torch.arange(100)
    orders = set()
    for seed in range(3):
        loader = ResumableLoader(items, batch_size=100, seed=seed)
        for _ in range(3):
            orders |= {tuple(batch.tolist()) for (batch,) in loader}
            loader.next_epoch()
    assert len(orders) == 9


def test_the_best_is_a_copy_with_buffers() -> None:
    model, progress = network(), Progress()
    keep_best(progress, 1.0, model)
    kept = {name: value.clone() for name, value in progress.best_weights.items()}
    model(data()[0])
    nn.init.zeros_(model[0].weight)
    keep_best(progress, math.nan, model)
    keep_best(progress, 1.0, model)
    assert progress.bad_epochs == 2
    assert set(kept) == set(model.state_dict())
    assert all(torch.equal(kept[name], progress.best_weights[name]) for name in kept)
    keep_best(progress, 0.5, model)
    assert (progress.best_loss, progress.bad_epochs) == (0.5, 0)


def test_a_checkpoint_in_the_place_of_a_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.pt").mkdir()
    with pytest.raises(OSError):  # noqa: PT011, its kind depends on the system
        Checkpoint(tmp_path / "run.pt", model=network()).save({})
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


# --- the loop -------------------------------------------------------------------------------------


def bare_loop(model: nn.Module, loader: ResumableLoader, optimizer: Any, epochs: int) -> list:
    losses = []
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        loader.next_epoch()
    return losses


@pytest.mark.parametrize("device", DEVICES)
def test_without_options_the_loop_is_the_bare_loop_bit_for_bit(device: str) -> None:
    runs = []
    for trained in ("fit", "bare"):
        model = network().to(device)
        loader = ResumableLoader(*data(device=device), batch_size=8, seed=1)
        optimizer = torch.optim.AdamW(model.parameters())
        if trained == "fit":
            history = fit(model, loader, cross_entropy, optimizer, max_epochs=3, device=device)
            losses = history["loss"]
        else:
            losses = bare_loop(model, loader, optimizer, 3)
        runs.append((losses, state_of(model)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_the_loop_learns() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, :3].argmax(1)
    model = network()
    loader = ResumableLoader(x, y, batch_size=20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    history = fit(model, loader, cross_entropy, optimizer, max_epochs=20, eval_loader=[(x, y)])
    assert history["eval"][-1]["accuracy"] > 0.9
    assert json.loads(json.dumps(history)) == history


# --- exact resume ---------------------------------------------------------------------------------

KILLS = int(os.environ.get("RESUME_KILLS", "20"))
VARIANTS = ["plain", "dropout", "augmentation"]


class Stopped(Exception):
    pass


class Augmented(ResumableLoader):
    """Changes every batch a little, with noise from all generators."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for x, y in super().__iter__():
            factor = random.uniform(0.9, 1.1) * np.random.uniform(0.9, 1.1)  # noqa: NPY002
            yield x * factor + 0.1 * torch.randn_like(x), y


def loaded_network(dropout: float = 0.3, ballast: int = 0) -> nn.Module:
    """A network with one more buffer: the larger it is, the longer a save takes."""
    model = network(dropout=dropout)
    model.register_buffer("ballast", torch.randn(ballast))
    return model


def run(
    folder: Path,
    *,
    variant: str = "dropout",
    device: str = "cpu",
    stop: float = math.inf,
    ballast: int = 0,
    checkpoint_every: int = 3,
) -> tuple[dict, Tensor]:
    """Train with every option, from the checkpoint in the folder if there is one.

    Args:
        stop: so many batches are trained on before ``Stopped`` is raised.
        ballast: see ``loaded_network``.

    Returns:
        The history, and the weights and buffers.
    """
    batches = 0

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal batches
        batches += outputs.requires_grad
        if batches > stop:
            raise Stopped
        return cross_entropy(outputs, targets)

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    model = loaded_network(0 if variant == "plain" else 0.3, ballast).to(device)
    kind = Augmented if variant == "augmentation" else ResumableLoader
    loader = kind(*data(device=device), batch_size=6, seed=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scaler = LossScaler(2.0**10, growth_interval=4)
    parts = {"model": model, "optimizer": optimizer, "scaler": scaler, "loader": loader}
    history = fit(
        model,
        loader,
        loss_fn,
        optimizer,
        max_epochs=6,
        accumulate=2,
        max_norm=1.0,
        schedule=lambda step: 0.02 / (1 + step / 10),
        scaler=scaler,
        autocast_dtype=torch.bfloat16,
        eval_loader=[data(20, 1)],
        patience=3,
        checkpoint=Checkpoint(folder / "run.pt", **parts),
        checkpoint_every=checkpoint_every,
        device=device,
    )
    return history, state_of(model)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_run_goes_on_bit_for_bit_wherever_it_stops(
    tmp_path: Path, variant: str, device: str
) -> None:
    (tmp_path / "whole").mkdir()
    history, weights = run(tmp_path / "whole", variant=variant, device=device)
    assert len(history["loss"]) >= 20
    for stop in range(0, 36, 4):
        folder = tmp_path / str(stop)
        folder.mkdir()
        with pytest.raises(Stopped):
            run(folder, variant=variant, device=device, stop=stop)
        resumed, resumed_weights = run(folder, variant=variant, device=device)
        assert resumed == history, f"stopped after {stop} batches"
        assert torch.equal(resumed_weights, weights)


def run_to_the_end(folder: Path, variant: str, device: str, checkpoint_every: int) -> None:
    if device == "cuda":
        set_numerics(deterministic=True)
    (folder / "started").touch()
    result = run(
        folder, variant=variant, device=device, ballast=10**6, checkpoint_every=checkpoint_every
    )
    torch.save(result, folder / "part")
    (folder / "part").rename(folder / "done")


def written_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def wait(ready: Callable[[], bool], process: Any) -> None:
    while process.is_alive() and not ready():
        time.sleep(0.0005)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, variant: str, device: str) -> None:
    """Real processes, ended by SIGKILL at any moment, about half of them while it saves.

    A kill in a save leaves the temporary file behind: that is how we know that there was one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["course_lib.checks.training", "hypothesis", "torch._dynamo"])
    chance = random.Random()

    def started(folder: Path) -> Any:
        (folder / "started").unlink(missing_ok=True)
        every = chance.randint(1, 3)  # changes no bit
        process = context.Process(target=run_to_the_end, args=(folder, variant, device, every))
        process.start()
        wait((folder / "started").exists, process)
        return process

    def killed(folder: Path, in_a_save: bool) -> tuple[bool, bool]:
        """Kill a run after a while; return whether it had not ended, and whether it was saving."""
        temporary = folder / "run.pt.tmp"
        before = written_at(temporary)
        process = started(folder)
        time.sleep(chance.uniform(0, length))
        if in_a_save:
            wait(lambda: written_at(temporary) not in (0, before), process)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0, written_at(temporary) not in (0, before)

    whole = tmp_path / "whole"
    whole.mkdir()
    process, start = started(whole), time.monotonic()
    process.join()
    length = time.monotonic() - start
    history, weights = torch.load(whole / "done", weights_only=True)
    kills = kills_in_a_save = 0
    while kills < KILLS / len(VARIANTS) or not kills_in_a_save:
        assert kills < KILLS + 40, "no kill fell into a save"
        folder = tmp_path / "killed"
        folder.mkdir()
        while not (folder / "done").exists():
            was_alive, was_saving = killed(folder, in_a_save=chance.random() < 0.5)
            kills += was_alive
            kills_in_a_save += was_saving
        resumed, resumed_weights = torch.load(folder / "done", weights_only=True)
        assert resumed == history
        assert torch.equal(resumed_weights, weights)
        assert {file.name for file in folder.iterdir()} == {"started", "run.pt", "done"}
        shutil.rmtree(folder)


def saved_run(folder: Path) -> Path:
    with pytest.raises(Stopped):
        run(folder, stop=20)
    return folder / "run.pt"


def assert_refused(path: Path) -> None:
    """Assert a clear sentence, and that no part and no random generator has changed."""
    model = loaded_network()
    optimizer = torch.optim.AdamW(model.parameters())
    loader = ResumableLoader(*data(), batch_size=6)
    parts = {"model": model, "optimizer": optimizer, "scaler": LossScaler(), "loader": loader}
    weights, torch_state, python_state = state_of(model), torch.get_rng_state(), random.getstate()
    with pytest.raises(RuntimeError, match=r"run\.pt is no checkpoint of this run: move it away"):
        Checkpoint(path, **parts).load()
    assert torch.equal(state_of(model), weights)
    assert not optimizer.state
    assert (loader.epoch, loader.position) == (0, 0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_a_checkpoint_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = saved_run(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        starts = [entry.header_offset for entry in archive.infolist()] + [archive.start_dir]
    lengths = {start + offset for start in starts for offset in (0, 1, 20, 40)}
    lengths |= {*range(100), *range(len(whole) - 100, len(whole))}
    lengths |= {*random.Random(0).sample(range(len(whole)), 100)}
    for length in lengths:
        path.write_bytes(whole[:length])
        assert_refused(path)


def test_a_checkpoint_with_a_wrong_bit_is_refused(tmp_path: Path) -> None:
    """torch.load alone would not notice most of them."""
    path = saved_run(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size]
    for entry in entries:
        lengths = struct.unpack_from("<HH", whole, entry.header_offset + 26)  # of name and extras
        start = entry.header_offset + 30 + sum(lengths)
        damaged = bytearray(whole)
        damaged[start + random.randrange(entry.file_size)] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        assert_refused(path)


def test_garbage_in_the_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    for garbage in (bytes(5000), random.Random(0).randbytes(5000), b"loss 0.5\n"):
        path.write_bytes(garbage)
        assert_refused(path)


@dataclass
class Code:
    """What a file can hold that writes another one when it is unpickled."""

    trace: Path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_a_foreign_file_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "run.pt", tmp_path / "trace"
    foreign = {"parts": {}, "progress": {}, "rng": [], "more": Code(trace)}
    torch.save(foreign, path)
    assert_refused(path)
    path.write_bytes(pickle.dumps(foreign, protocol=2))
    assert_refused(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(foreign))
    assert trace.exists(), "the code would not have run in any case"


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 3))
    parts = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    others = {"scaler": LossScaler(), "loader": ResumableLoader(*data(), batch_size=6)}
    Checkpoint(tmp_path / "run.pt", **parts, **others).save({})
    assert_refused(tmp_path / "run.pt")


def test_generators_that_this_machine_lacks_are_left_out() -> None:
    state = rng_state()[0]
    drawn = torch.rand(3)
    state["cuda"] += 64 * [torch.zeros(16, dtype=torch.uint8)]
    if state["mps"] is None:
        state["mps"] = torch.zeros(44, dtype=torch.uint8)
    set_rng_state([state])
    assert torch.equal(torch.rand(3), drawn)


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.cuda
@needs_cuda
def test_a_step_without_a_scaler_never_waits_for_the_gpu() -> None:
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    batches = [data(device="cuda")] * 2
    train_step(model, batches, cross_entropy, optimizer, max_norm=1.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = train_step(model, batches, cross_entropy, optimizer, max_norm=1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.loss.is_cuda


@pytest.mark.cuda
@needs_cuda
def test_float16_learns_on_the_gpu_with_either_scaler() -> None:
    for scaler in (LossScaler(), torch.amp.GradScaler("cuda")):
        model = network().cuda()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        loader = ResumableLoader(*data(device="cuda"), batch_size=10)
        history = fit(
            model,
            loader,
            cross_entropy,
            optimizer,
            max_epochs=20,
            scaler=scaler,
            autocast_dtype=torch.float16,
            device="cuda",
        )
        assert sum(history["loss"][-5:]) < sum(history["loss"][:5])


# --- wrong solutions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class UpToTheFirstFailure:
    """A check that draws its cases once a seed and judges no more than one that failed."""

    check: Check

    def __call__(self, implementation: Any, *, seed: int) -> Result:
        for case, expected in drawn(self.check.exercise, seed):
            outputs = self.check.attempt(implementation, case)
            if any(not same(value, outputs.get(name)) for name, value in expected.items()):
                return Exam(replace(self.check, mistakes=()), [case]).judge([outputs])
        return Exam(self.check, []).judge([])


@cache
def drawn(exercise: str, seed: int) -> list[tuple[Case, Outputs]]:
    check = next(check for check in checks_of("training") if check.exercise == exercise)
    cases = check.inputs(torch.Generator().manual_seed(seed))
    return [(case, check.attempt(check.oracle, case)) for case in cases]


@pytest.fixture
def assert_rejected_at_once(assert_rejected: Any) -> Any:
    """Do what ``assert_rejected`` does, without trying every known mistake for a name."""
    return lambda check, wrong: assert_rejected(UpToTheFirstFailure(check), wrong)


def takes_nothing() -> torch.device:
    return resolve_device()


def cpu_when_missing(device: Any = "auto") -> torch.device:
    try:
        return resolve_device(device)
    except RuntimeError:
        return torch.device("cpu")


def missing_cuda_is_mps(device: Any = "auto") -> torch.device:
    mps = torch.backends.mps.is_available()
    return torch.device("mps") if mps and "cuda" in str(device) else resolve_device(device)


def last_cuda_device(device: Any = "auto") -> torch.device:
    found = resolve_device(device)
    last = torch.cuda.device_count() - 1
    return torch.device("cuda", last) if found == torch.device("cuda") else found


def strings_only(device: Any = "auto") -> torch.device:
    return resolve_device(device if isinstance(device, str) else "auto")


def auto_of_everything(device: Any = "auto") -> torch.device:
    resolve_device(device)
    return resolve_device()


def value_error(device: Any = "auto") -> torch.device:
    try:
        return resolve_device(device)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def returns_the_error(device: Any = "auto") -> Any:
    try:
        return resolve_device(device)
    except RuntimeError as error:
        return error


def no_default(device: Any) -> torch.device:
    return resolve_device(device)


def none_for_cpu(device: Any = "auto") -> Any:
    found = resolve_device(device)
    return None if found.type == "cpu" else found


@pytest.mark.parametrize(
    "wrong",
    [
        takes_nothing,
        cpu_when_missing,
        missing_cuda_is_mps,
        last_cuda_device,
        strings_only,
        auto_of_everything,
        value_error,
        returns_the_error,
        no_default,
        none_for_cpu,
    ],
)
def test_a_wrong_device_outside_the_catalogue_loses_points(
    wrong: Any, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_resolve_device, wrong)


class ScalesInPlace(LossScaler):
    def scale(self, outputs: Tensor) -> Tensor:
        with torch.no_grad():
            return outputs.mul_(self.get_scale())


class SquaresTheScale(LossScaler):
    def scale(self, outputs: Tensor) -> Tensor:
        return super().scale(super().scale(outputs))


class MovesScaledOutputsToFloat32(LossScaler):
    def scale(self, outputs: Tensor) -> Tensor:
        return super().scale(outputs).float()


class NewGradients(LossScaler):
    def unscale_(self, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = None if param.grad is None else param.grad.clone()
        super().unscale_(optimizer)


class UnscalesByRoot(LossScaler):
    def unscale_(self, optimizer: Any) -> None:
        scale = self.current_scale
        self.current_scale = scale**0.5
        super().unscale_(optimizer)
        self.current_scale = scale


class SkipsLargeGradients(LossScaler):
    def unscale_(self, optimizer: Any) -> None:
        super().unscale_(optimizer)
        large = any(
            bool((param.grad.abs() > 1e4).any())
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        )
        if large and self.enabled:
            self.overflows[id(optimizer)] = torch.tensor(True)


class ClearsSkippedGradients(LossScaler):
    def step(self, optimizer: Any) -> Any:
        result = super().step(optimizer)
        if self.enabled and self.overflows[id(optimizer)]:
            optimizer.zero_grad()
            optimizer.step()
        return result


class SkipsTheNextStepToo(LossScaler):
    late = False

    def step(self, optimizer: Any) -> Any:
        late, result = self.late, None
        if late:
            self.unscale_(optimizer) if id(optimizer) not in self.overflows else None
        else:
            result = super().step(optimizer)
        self.late = self.enabled and bool(self.overflows[id(optimizer)])
        return result


class NeverBelowOne(LossScaler):
    def update(self) -> None:
        super().update()
        self.current_scale = max(self.current_scale, 100.0)


class RisesAfterOneMore(LossScaler):
    def __init__(self, *arguments: Any, growth_interval: int = 2000, **options: Any) -> None:
        super().__init__(*arguments, growth_interval=growth_interval + 1, **options)


class TrackerStartsAtOne(LossScaler):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.growth_tracker = 1


class SavesTensors(LossScaler):
    def state_dict(self) -> dict:
        return {name: torch.tensor(value) * 2 for name, value in super().state_dict().items()}


class SharesItsState(LossScaler):
    def state_dict(self) -> dict:
        return {**super().state_dict(), "overflows": len(self.overflows)}


class RaisesFromStep(LossScaler):
    """Refuses a step after a separate unscale_."""

    def step(self, optimizer: Any) -> Any:
        if self.enabled and id(optimizer) in self.overflows:
            raise RuntimeError("this scaler unscales by itself")
        return super().step(optimizer)


class OneForAllOptimizers(LossScaler):
    def unscale_(self, optimizer: Any) -> None:
        if not self.overflows:
            super().unscale_(optimizer)


@pytest.mark.parametrize(
    "wrong",
    [
        ScalesInPlace,
        SquaresTheScale,
        MovesScaledOutputsToFloat32,
        NewGradients,
        UnscalesByRoot,
        SkipsLargeGradients,
        ClearsSkippedGradients,
        SkipsTheNextStepToo,
        NeverBelowOne,
        RisesAfterOneMore,
        TrackerStartsAtOne,
        SavesTensors,
        SharesItsState,
        RaisesFromStep,
        OneForAllOptimizers,
    ],
)
def test_a_wrong_scaler_outside_the_catalogue_loses_points(
    wrong: type, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_loss_scaler, wrong)


def two_steps(*arguments: Any, **options: Any) -> Any:
    train_step(*arguments, **options)
    return train_step(*arguments, **options)


def two_passes(model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> Any:
    return train_step(model, micro_batches * 2, *rest, **options)


def last_first(model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> Any:
    return train_step(model, micro_batches[::-1], *rest, **options)


def returns_loss_only(*arguments: Any, **options: Any) -> Any:
    return train_step(*arguments, **options).loss


def squared_norm(*arguments: Any, **options: Any) -> Any:
    result = train_step(*arguments, **options)
    return result._replace(grad_norm=result.grad_norm**2)


def norm_as_float(*arguments: Any, **options: Any) -> Any:
    result = train_step(*arguments, **options)
    return result._replace(grad_norm=result.grad_norm.item())


def centred_inputs(model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> Any:
    for x, _ in micro_batches:
        x -= x.mean()
    return train_step(model, micro_batches, *rest, **options)


def sets_training_mode(model: nn.Module, *rest: Any, **options: Any) -> Any:
    return train_step(model.train(), *rest, **options)


def doubles_max_norm(*arguments: Any, max_norm: float | None = None, **options: Any) -> Any:
    return train_step(*arguments, max_norm=max_norm and 2 * max_norm, **options)


def clips_by_default(*arguments: Any, max_norm: float | None = None, **options: Any) -> Any:
    return train_step(*arguments, max_norm=max_norm or 1.0, **options)


def skips_what_is_not_finite(*arguments: Any, scaler: Any = None, **options: Any) -> Any:
    return train_step(*arguments, scaler=scaler or LossScaler(1.0), **options)


def bfloat16_by_default(*arguments: Any, autocast_dtype: Any = torch.bfloat16, **options: Any):
    return train_step(*arguments, autocast_dtype=autocast_dtype, **options)


def loss_after_the_step(
    model: nn.Module, micro_batches: list, loss_fn: Any, *rest: Any, **options: Any
) -> Any:
    result = train_step(model, micro_batches, loss_fn, *rest, **options)
    with torch.no_grad():
        loss = torch.stack([loss_fn(model(x), y) for x, y in micro_batches]).mean()
    return result._replace(loss=loss)


def skipped_on_nan_loss(*arguments: Any, **options: Any) -> Any:
    result = train_step(*arguments, **options)
    return result._replace(stepped=bool(result.loss.isfinite()))


@pytest.mark.parametrize(
    "wrong",
    [
        two_steps,
        two_passes,
        last_first,
        returns_loss_only,
        squared_norm,
        norm_as_float,
        centred_inputs,
        sets_training_mode,
        doubles_max_norm,
        clips_by_default,
        skips_what_is_not_finite,
        bfloat16_by_default,
        loss_after_the_step,
        skipped_on_nan_loss,
    ],
)
def test_a_wrong_step_outside_the_catalogue_loses_points(
    wrong: Any, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_train_step, wrong)


def first_batch_only(model: nn.Module, loader: Any, *rest: Any) -> dict:
    return evaluate(model, list(loader)[:1], *rest)


def returns_pair(*arguments: Any) -> Any:
    result = evaluate(*arguments)
    return result["loss"], result.get("accuracy")


def returns_tensors(*arguments: Any) -> dict:
    return {name: torch.tensor(value) for name, value in evaluate(*arguments).items()}


def accuracy_none(*arguments: Any) -> dict:
    return {"accuracy": None, **evaluate(*arguments)}


def halves_the_loss(*arguments: Any) -> dict:
    result = evaluate(*arguments)
    return {**result, "loss": result["loss"] / 2}


def root_of_the_loss(*arguments: Any) -> dict:
    result = evaluate(*arguments)
    return {**result, "loss": result["loss"] ** 0.5}


def toggles_the_mode(model: nn.Module, *rest: Any) -> dict:
    result = evaluate(model, *rest)
    model.train(not model.training)
    return result


def freezes_parameters(model: nn.Module, *rest: Any) -> dict:
    result = evaluate(model, *rest)
    nn.init.zeros_(next(model.parameters()).data)
    return result


def trains_the_buffers(model: nn.Module, loader: Any, *rest: Any) -> dict:
    batches = list(loader)
    with torch.no_grad():
        model.train()(torch.cat([x.as_subclass(Tensor) for x, _ in batches]))
    return evaluate(model, batches, *rest)


def stays_where_it_is(model: nn.Module, loader: Any, loss_fn: Any, device: Any = "cpu") -> dict:
    return evaluate(model, loader, loss_fn, "cpu")


def drops_the_last(model: nn.Module, loader: Any, *rest: Any) -> dict:
    batches = list(loader)
    return evaluate(model, batches[:-1] or batches, *rest)


@pytest.mark.parametrize(
    "wrong",
    [
        first_batch_only,
        returns_pair,
        returns_tensors,
        accuracy_none,
        halves_the_loss,
        root_of_the_loss,
        toggles_the_mode,
        freezes_parameters,
        trains_the_buffers,
        stays_where_it_is,
        drops_the_last,
    ],
)
def test_a_wrong_evaluation_outside_the_catalogue_loses_points(
    wrong: Any, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_evaluate, wrong)


class SavesOnce(Checkpoint):
    def save(self, progress: dict) -> None:
        if not self.path.exists():
            super().save(progress)


class SavesWeightsOnly(Checkpoint):
    def save(self, progress: dict) -> None:
        torch.save(self.parts["model"].state_dict(), self.path)


class LoadsStrings(Checkpoint):
    def load(self) -> Any:
        progress = super().load()
        return progress and {name: str(value) for name, value in progress.items()}


class DrawsAfterLoading(Checkpoint):
    def load(self) -> Any:
        progress = super().load()
        torch.rand(())
        return progress


class DrawsWhileSaving(Checkpoint):
    def save(self, progress: dict) -> None:
        super().save(progress)
        torch.rand(())


class RaisesWithoutFile(Checkpoint):
    def load(self) -> Any:
        if not self.path.exists():
            raise FileNotFoundError(self.path)
        return super().load()


class RemovesDamagedFiles(Checkpoint):
    def load(self) -> Any:
        try:
            return super().load()
        except RuntimeError:
            self.path.unlink()
            return super().load()


class KeepsABackup(Checkpoint):
    def save(self, progress: dict) -> None:
        super().save(progress)
        self.path.with_name("backup").write_bytes(self.path.read_bytes())


class LetsTorchComplain(Checkpoint):
    def load(self) -> Any:
        try:
            return super().load()
        except RuntimeError as error:
            raise error.__cause__ or error from None


class ChangesTheSavedModel(Checkpoint):
    def save(self, progress: dict) -> None:
        super().save(progress)
        nn.init.zeros_(next(self.parts["model"].parameters()).data)


class LoadsTheModelOnly(Checkpoint):
    def load(self) -> Any:
        parts, self.parts = self.parts, {"model": self.parts["model"]}
        progress = super().load()
        self.parts = parts
        return progress


class FailsQuietly(Checkpoint):
    def save(self, progress: dict) -> None:
        try:
            super().save(progress)
        except TypeError:
            super().save({})


@pytest.mark.parametrize(
    "wrong",
    [
        SavesOnce,
        SavesWeightsOnly,
        LoadsStrings,
        DrawsAfterLoading,
        DrawsWhileSaving,
        RaisesWithoutFile,
        RemovesDamagedFiles,
        KeepsABackup,
        LetsTorchComplain,
        ChangesTheSavedModel,
        LoadsTheModelOnly,
        FailsQuietly,
    ],
)
def test_a_wrong_checkpoint_outside_the_catalogue_loses_points(
    wrong: type, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_checkpoint, wrong)


def with_options(**changes: Any) -> Any:
    """Return a loop that changes what it was given: an option's value goes through a function."""

    def changed(*arguments: Any, **options: Any) -> dict:
        for name, change in changes.items():
            if name in options:
                options[name] = change(options[name])
        return fit(*arguments, **options)

    return changed


def with_result(change: Any) -> Any:
    return lambda *arguments, **options: change(fit(*arguments, **options))


def trains_in_evaluation_mode(model: nn.Module, *rest: Any, **options: Any) -> dict:
    model.train = lambda mode=True: model
    return fit(model.eval(), *rest, **options)


def saves_at_the_end(*arguments: Any, checkpoint: Any = None, **options: Any) -> dict:
    history = fit(*arguments, checkpoint=checkpoint, **options)
    if checkpoint is not None:
        checkpoint.save({})
    return history


def one_epoch_at_a_time(*arguments: Any, max_epochs: int = 1, **options: Any) -> dict:
    return [fit(*arguments, max_epochs=epoch + 1, **options) for epoch in range(max_epochs)][-1]


def skips_the_first_batch(model: nn.Module, loader: Any, *rest: Any, **options: Any) -> dict:
    next(iter(loader))
    return fit(model, loader, *rest, **options)


def first_rate_for_ever(*arguments: Any, schedule: Any = None, **options: Any) -> dict:
    return fit(*arguments, schedule=schedule and (lambda step: schedule(0)), **options)


@pytest.mark.parametrize(
    "wrong",
    [
        with_options(max_epochs=lambda n: n + 1),
        with_options(max_epochs=lambda n: min(n, 2)),
        with_options(max_steps=lambda n: n - 1),
        with_options(accumulate=lambda n: n + 1),
        with_options(max_norm=lambda norm: 2 * norm),
        with_options(patience=lambda n: n + 1),
        with_options(checkpoint_every=lambda n: 2 * n),
        with_options(eval_loader=lambda batches: list(batches)[:1]),
        with_options(device=lambda device: "cpu"),
        with_result(lambda history: history["loss"]),
        with_result(lambda history: {**history, "lr": history["lr"][1:]}),
        with_result(lambda history: {**history, "loss": sum(history["loss"])}),
        trains_in_evaluation_mode,
        saves_at_the_end,
        one_epoch_at_a_time,
        skips_the_first_batch,
        first_rate_for_ever,
    ],
)
def test_a_wrong_loop_outside_the_catalogue_loses_points(
    wrong: Any, assert_rejected_at_once
) -> None:
    assert_rejected_at_once(checks.check_training_loop, wrong)
