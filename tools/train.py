"""Train a network on scikit-learn's handwritten digits, in one process or in several.

    python tools/train.py
    torchrun --nproc-per-node 2 tools/train.py --device cpu

Several processes share every batch. With --checkpoint a run that was stopped goes on from its last
save, to the last bit; so it does when torchrun restarts it because a process died (--max-restarts).

The reference solutions train. To train with your own, set COURSE_LIB_OVERLAY to their folder.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

os.environ.setdefault("COURSE_LIB_OVERLAY", str(Path(__file__).parents[1] / "solutions"))

from course_lib.distributed import processes, rank
from course_lib.monitor import Monitor
from course_lib.stability import warmup_cosine
from course_lib.training import (
    Checkpoint,
    ResumableLoader,
    evaluate,
    fit,
    resolve_device,
)

cross_entropy = nn.functional.cross_entropy


def main() -> None:
    options = command_line().parse_args()
    try:
        device = resolve_device(options.device)
        with processes(device):
            train(options, device)
    except (FloatingPointError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"train.py: {error}")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, or the best (auto)")
    parser.add_argument("--max-epochs", type=positive, default=40, help="epochs at most (40)")
    parser.add_argument(
        "--patience", type=positive, default=8, help="epochs without a better one (8)"
    )
    parser.add_argument("--batch-size", type=positive, default=64, help="of all processes (64)")
    parser.add_argument(
        "--hidden", type=positive, default=128, help="units of the hidden layer (128)"
    )
    parser.add_argument("--lr", type=float, default=3e-3, help="highest learning rate (0.003)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (0)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="save, and go on from it")
    parser.add_argument("--every", type=positive, default=50, help="steps between two saves (50)")
    # Not --monitor: torchrun would take it for the beginning of an option of its own.
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="write them here (JSON Lines)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="for the result (safetensors)")
    return parser


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return number


def train(options: argparse.Namespace, device: torch.device) -> None:
    # Every process draws dropout of its own. The weights are those of process 0 everywhere.
    torch.manual_seed(options.seed + rank())
    training, validation, test = digits(device)
    loader = ResumableLoader(*training, batch_size=options.batch_size, seed=options.seed)
    model = network(options.hidden).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    max_steps = options.max_epochs * len(loader)
    with Monitor(options.metrics, max_steps=max_steps, every=options.every) as monitor:
        fit(
            model,
            loader,
            cross_entropy,
            optimizer,
            max_epochs=options.max_epochs,
            max_norm=1.0,
            schedule=partial(
                warmup_cosine,
                max_lr=options.lr,
                warmup_steps=max_steps // 20,
                max_steps=max_steps,
            ),
            eval_loader=[validation],
            patience=options.patience,
            checkpoint=checkpoint(
                options.checkpoint, model=model, optimizer=optimizer, loader=loader
            ),
            checkpoint_every=options.every,
            monitor=monitor,
            device=device,
        )
    if rank() > 0:
        return
    if options.weights is not None:
        save_file(model.state_dict(), options.weights)
    print(f"test accuracy {evaluate(model, [test], cross_entropy, device)['accuracy']:.1%}")


def digits(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return images of shape (n, 64), from 0 to 1, and digits: to train, to validate, to test."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.float32, device=device)
    y = torch.tensor(labels, device=device)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(device)
    return [(x[part], y[part]) for part in order.split([1200, 297, 300])]


def network(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10))


def checkpoint(path: Path | None, **parts: object) -> Checkpoint | None:
    if path is None:
        return None
    if path.exists() and rank() == 0:
        print(f"going on from {path}", flush=True)
    return Checkpoint(path, **parts)


if __name__ == "__main__":
    main()
