"""Train the judge of swaps (see `swap_judges.py`) on the train split, and say how good it is.

    python experiments/train_judges.py --out build/judges --report data/judges.json

Writes parameters.safetensors to the folder, and a report: for each number its R2 on images of people it never
saw. A finished judge is not trained again.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import swap_judges
import torch
import torch.nn.functional as F
from command import exit_code, parser_of
from embedding import FREE, embed_rows
from results import write_result
from torch import Tensor, nn
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import TrueSwap

BATCH, RATE = 64, 2e-3


def train(
    title: str, data: TrueSwap, modules: nn.ModuleList, loss_of: Callable, steps: int, seed: int
) -> None:
    """Adam under a one-cycle rate; `loss_of(x, rows)` is the loss of a batch of images."""
    optimizer = torch.optim.Adam(modules.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    rng = np.random.default_rng(seed)
    modules.train()
    with tqdm(range(steps), desc=title, unit="step") as bar:
        for step in bar:
            rows = rng.integers(len(data), size=BATCH)
            loss = loss_of(data.image_batch(rows), torch.as_tensor(rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
    modules.eval()


def train_parameters(data: TrueSwap, y: np.ndarray, steps: int, seed: int) -> nn.Module:
    """A regressor of the renderer's parameters, each with mean 0 and variance 1."""
    torch.manual_seed(seed)
    judge = swap_judges.ParameterJudge(y.shape[1])
    judge.mean.copy_(torch.as_tensor(y.mean(0)))
    judge.deviation.copy_(torch.as_tensor(y.std(0)))
    standardized = (torch.as_tensor(y) - judge.mean) / judge.deviation

    def loss(x: Tensor, rows: Tensor) -> Tensor:
        return F.mse_loss(judge.standardized(x), standardized[rows])

    train("parameter judge", data, nn.ModuleList([judge]), loss, steps, seed)
    return judge


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    options.out.mkdir(parents=True, exist_ok=True)
    data, test = TrueSwap(options.train), TrueSwap(options.test)
    free = np.flatnonzero(test.attribute_sets == FREE)
    result = {"steps": options.steps, "people": len(np.unique(test.identities)), "images": len(free)}

    shape, expression = swap_judges.landmark_table(data, options.out / "train.npz")
    components = {
        "shape": swap_judges.Components.of(shape, swap_judges.SHAPES),
        "expression": swap_judges.Components.of(expression, swap_judges.EXPRESSIONS),
    }
    parts = (components["shape"], components["expression"])
    path = options.out / "parameters.safetensors"
    if not path.exists():
        y = swap_judges.targets(data, shape, expression, *parts)
        judge = train_parameters(data, y, options.steps, options.seed)
        checkpoints.save_weights(path, judge, {"outputs": str(y.shape[1])})
    judge = swap_judges.load_judge(options.out)
    y_test = swap_judges.targets(test, *swap_judges.landmark_table(test, options.out / "test.npz"), *parts)[
        free
    ]
    said = embed_rows(test, free, judge).numpy()
    r2 = 1 - ((said - y_test) ** 2).mean(0) / y_test.var(0)
    result |= {f"share_of_{name}": c.share for name, c in components.items()}
    result["r2"] = dict(zip(swap_judges.names(), r2.round(4).tolist()))
    people = test.identities[free]
    means = [np.stack([v[people == p].mean(0) for p in np.unique(people)]) for v in (said, y_test)]
    result["r2_of_a_persons_mean"] = dict(
        zip(swap_judges.names(), (1 - ((means[0] - means[1]) ** 2).mean(0) / means[1].var(0)).tolist())
    )
    result["deviation"] = dict(zip(swap_judges.names(), judge.deviation.tolist()))
    write_result(result, options.report or options.out / "judges.json")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/judges"))
    parser.add_argument("--train", default="train")
    parser.add_argument("--test", default="test")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="judges.json (default: in the folder of --out)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
