"""Train the judge of swaps (see `swap_judges.py`) on the train split, and say how good it is.

    python experiments/train_judges.py --out build/judges --report data/judges.json

Writes parameters.safetensors to the folder, and a report: for each number its R2 on images of people it never
saw, what a ridge probe reads of gender, age and weight from its last features, and whether its shapes tell
twins apart. A finished judge is not trained again.
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
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.evaluation import probes

BATCH, RATE = 64, 2e-3
PROBED = ("identity.gender", "identity.age", "identity.weight")  # it is not told these


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


def probed(judge: swap_judges.ParameterJudge, data: TrueSwap, test: TrueSwap, free: np.ndarray) -> dict:
    """R2 on unseen people of what a ridge probe reads from the judge's last features, fitted on `data`."""
    z_train = embed_rows(data, np.arange(len(data)), judge.features)
    z_test = embed_rows(test, free, judge.features)
    y_train, y_test = (np.stack([d.table[name].to_numpy() for name in PROBED], axis=1) for d in (data, test))
    r2 = probes.ridge_r2(z_train, y_train, z_test, y_test[free], data.identities)
    return dict(zip(PROBED, r2.tolist()))


def twins_auc(judge: swap_judges.ParameterJudge, twins: TrueSwap) -> float:
    """Are two pictures of the same person? By the distance of the shapes that the judge reads from them."""
    shapes = embed_rows(twins, np.arange(len(twins)), judge)[:, swap_judges.groups()["shape"]]  # pixels
    first, second, same = twins.pairs()
    return float(roc_auc_score(same, -(shapes[first] - shapes[second]).norm(dim=1)))


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
    result["r2_probed"] = probed(judge, data, test, free)
    result["auc_twins"] = twins_auc(judge, TrueSwap(options.twins))
    write_result(result, options.report or options.out / "judges.json")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/judges"))
    parser.add_argument("--train", default="train")
    parser.add_argument("--test", default="test")
    parser.add_argument("--twins", default="twins")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="judges.json (default: in the folder of --out)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
