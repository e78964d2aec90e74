"""CUDA graphs: a whole training step started by one call.

The kernels of a small network take less time than Python takes to start them, and the GPU waits. A
CUDA graph captures all kernels of a step; to replay them takes one call. What is captured are
addresses: whatever differs from step to step must stand in tensors that stay in their place. Here
these are the batch, the learning rate, the weights and the optimizer's state.

Source: PyTorch's notes "CUDA semantics", section "CUDA Graphs". Book: ML Core, 5.
"""

import contextlib
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.training import Batch, LossFunction, StepResult, train_step

WARM_UP = 3
"""Steps of ``train_step`` before the capture: libraries choose their kernels meanwhile, and the
optimizer makes its state."""


class GraphedStep:
    """A step for ``fit(..., step=GraphedStep())`` that is captured once and then replayed.

    Its arguments and its result are ``train_step``'s, and ``train_step`` is what it captures. The
    first shape of a batch that has come ``WARM_UP`` times is captured when it comes again. Every
    other step is an ordinary one: the warm-up, another shape (the short last batch of an epoch),
    several micro-batches, ``check_finite``, and everything on the CPU.

    Another model, loss function, optimizer (or one whose state has been loaded), ``max_norm`` or
    ``autocast_dtype`` than before is captured anew. Of anything else that Python does in a step the
    graph keeps what it did then: a branch in the model, its training mode, which parameters learn,
    the options of the optimizer but for ``lr``.

    The graph keeps memory of its own for the activations of a step. The groups of Adam and AdamW
    get ``capturable=True``, also in what ``state_dict`` returns: to go on with it on a CPU, set it
    to False again.

    Raises:
        ValueError: the scaler is enabled (a graph cannot skip a step), there are several processes,
            or the optimizer cannot be captured.
        RuntimeError: the step waits for the GPU somewhere (``.item()``, for example), so it cannot
            be captured.
    """

    def __init__(self) -> None:
        self._forget()

    def __call__(
        self,
        model: nn.Module,
        micro_batches: Sequence[Batch],
        loss_fn: LossFunction,
        optimizer: Any,
        *,
        scaler: Any = None,
        max_norm: float | None = None,
        autocast_dtype: torch.dtype | None = None,
        check_finite: bool = False,
    ) -> StepResult:
        if scaler is not None and scaler.is_enabled():
            raise ValueError("a CUDA graph cannot skip a step: use bfloat16, without a scaler")
        if distributed.world_size() > 1:
            raise ValueError("a CUDA graph is for one process: use train_step with several")

        def step(micro_batches: Sequence[Batch]) -> StepResult:
            return train_step(
                model,
                micro_batches,
                loss_fn,
                optimizer,
                max_norm=max_norm,
                autocast_dtype=autocast_dtype,
                check_finite=check_finite,
            )

        batch = micro_batches[0]
        if not batch[0].is_cuda:
            return step(micro_batches)
        self._begin(
            (model, loss_fn, optimizer, optimizer.state),
            (max_norm, autocast_dtype, len(optimizer.param_groups), batch[0].device),
        )
        if len(micro_batches) > 1 or check_finite:
            return step(micro_batches)
        shape = tuple((part.shape, part.dtype) for part in batch)
        if self.graph is None and self.warm_ups[shape] == WARM_UP:
            self._capture(step, batch, optimizer)
            self.shape = shape
        if self.graph is not None:
            return self._replay(batch, optimizer) if shape == self.shape else step(micro_batches)
        self.warm_ups[shape] += 1
        with on(self.stream):
            return step(micro_batches)

    def _forget(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.objects: tuple[Any, ...] = (None,) * 4
        self.options: tuple[Any, ...] = ()
        self.warm_ups: Counter[Any] = Counter()

    def _begin(self, objects: tuple[Any, ...], options: tuple[Any, ...]) -> None:
        """Be ready for a step with these, which may be others than those of the step before."""
        if all(map(operator.is_, objects, self.objects)) and options == self.options:
            return
        make_capturable(objects[2])
        self._forget()
        self.objects, self.options = objects, options
        self.stream = torch.cuda.Stream(options[-1])

    def _capture(
        self, step: Callable[[Sequence[Batch]], StepResult], batch: Batch, optimizer: Any
    ) -> None:
        """Capture a step; nothing is computed meanwhile."""
        groups = optimizer.param_groups
        rates = [group["lr"] for group in groups]
        self.batch: Batch = (batch[0].clone(), batch[1].clone())
        self.rates = [torch.zeros((), device=self.batch[0].device) for _ in groups]
        graph = torch.cuda.CUDAGraph()
        try:
            for group, rate in zip(groups, self.rates):
                group["lr"] = rate
            # Other threads may go on with CUDA meanwhile, as one that pins memory does.
            with (
                on(self.stream),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                self.result = step([self.batch])
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                "this step cannot become a CUDA graph: look for what waits for the GPU in the "
                "model or the loss (.item(), .cpu(), printing a tensor), or use train_step"
            ) from error
        finally:
            for group, lr in zip(groups, rates):
                group["lr"] = lr
        params = [param for group in groups for param in group["params"]]
        self.gradients = [(param, param.grad) for param in params]
        self.graph = graph

    def _replay(self, batch: Batch, optimizer: Any) -> StepResult:
        assert self.graph is not None
        for kept, new in zip(self.batch, batch):
            kept.copy_(new)
        for rate, group in zip(self.rates, optimizer.param_groups):
            rate.fill_(group["lr"])
        self.graph.replay()
        for param, gradient in self.gradients:  # an ordinary step has put others there
            param.grad = gradient
        # The next replay writes over its results.
        return StepResult(self.result.loss.clone(), self.result.grad_norm.clone(), True)


def make_capturable(optimizer: Any) -> None:
    """Let an optimizer keep all that its step needs on the GPU, also the number of the step.

    Raises:
        ValueError: it is none of the optimizers that can take the learning rate from there too.
    """
    adam = isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW))
    sgd = isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        if not adam and not (sgd and group["fused"]):
            raise ValueError(
                f"{type(optimizer).__qualname__} cannot become part of a CUDA graph: take "
                "torch.optim.AdamW or Adam, or torch.optim.SGD with fused=True"
            )
        if adam:
            group["capturable"] = True
    for param, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name] = value.to(param.device)
    # torch would warn of ordinary steps with such an optimizer, as they come in the warm-up.
    optimizer._warned_capturable_if_run_uncaptured = True


@contextlib.contextmanager
def on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Compute on another stream, after all that came before and before all that comes later."""
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(stream.device).wait_stream(stream)
