"""The training command: settings, shipping with a card, errors without a traceback, help."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from tiny_runs import ROOT, TINY, FakeFaces

from smoothswap_lib import checkpoints, datasets, files, profiles, training
from smoothswap_lib.training import __main__ as training_cli

pytestmark = pytest.mark.usefixtures("small_networks")


def test_settings_go_to_the_section_or_the_profile():
    profile = training.apply_settings(
        profiles.get("quick"),
        "swapper",
        ["steps=7", "channel_multipliers=1,2,2", "save_every=3", "r1_gamma=0.5"],
    )
    assert (profile.swapper.steps, profile.swapper.channel_multipliers) == (7, (1, 2, 2))
    assert (profile.save_every, profile.swapper.r1_gamma) == (3, 0.5)
    assert profile.embedder == profiles.get("quick").embedder
    with pytest.raises(ValueError, match="no number is called 'stepz'. The swapper has .*steps.*save_every"):
        training.apply_settings(profile, "swapper", ["stepz=7"])
    with pytest.raises(ValueError, match="NAME=VALUE"):
        training.apply_settings(profile, "swapper", ["steps"])


@pytest.fixture
def command(monkeypatch, capsys):
    """The command line on the fake faces, with the tiny profile; returns exit code and what it printed."""
    monkeypatch.setattr(training, "open_data", lambda data, section, size: FakeFaces())
    monkeypatch.setattr(profiles, "get", lambda name: TINY)

    def run(*arguments: object) -> tuple[int, str]:
        code = 0
        try:
            training_cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_the_command_trains_and_ships_with_a_card(tmp_path, monkeypatch, command):
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path / "data"))
    first, second = tmp_path / "embedder", tmp_path / "swapper"
    code, text = command("embedder", "--profile", "tiny", "--out", first)
    assert (code, "loss" in text) == (0, True)
    swapper = (
        "swapper",
        "--profile",
        "tiny",
        "--out",
        second,
        "--embedder",
        first,
        "--set",
        "steps=3",
        "log_every=1",
    )
    code, text = command(*swapper, "--ship", "swapper")
    assert code == 2
    assert "ship the embedder's run first" in text

    code, text = command("embedder", "--profile", "tiny", "--out", first, "--resume", "--ship", "supcon")
    assert code == 0
    code, text = command(*swapper, "--resume", "--ship", "swapper")
    assert code == 0
    shipped = tmp_path / "data" / "checkpoints"
    assert sorted(path.name for path in shipped.iterdir()) == [
        "supcon.md",
        "supcon.safetensors",
        "swapper.md",
        "swapper.safetensors",
    ]
    assert checkpoints.read_metadata(shipped / "swapper.safetensors")["embedder"] == "supcon"
    images = FakeFaces().images[:2]
    assert checkpoints.swap(images, images.flip(0)).shape == images.shape
    card = (shipped / "swapper.md").read_text()
    assert files.sha256(shipped / "swapper.safetensors") in card
    assert "| generator_width | 8 |" in card
    assert "| steps | 3 |" in card
    assert "| data | FakeFaces, 48 images |" in card
    assert "| cos_source |" in card
    assert training.ship(first, "supcon", {"AUC": 0.5}).is_file()
    assert "| AUC | 0.5 |" in (shipped / "supcon.md").read_text()


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path, monkeypatch, command):
    out = ("--profile", "tiny", "--out", tmp_path / "run")
    for arguments, why in (
        (("embedder", *out, "--set", "steps=many"), "cannot read 'many'"),
        (("embedder", *out, "--seed", "-1"), "seed must be"),
        (("swapper", *out, "--embedder", "nobody"), "No weights are called 'nobody'"),
        (("embedder", *out, "--ship", "../escape"), "letters, digits and underscores"),
    ):
        code, text = command(*arguments)
        assert code == 2
        assert why in text
        assert "Traceback" not in text
    monkeypatch.setattr(training.Run, "_as_numbers", lambda self, values: {"loss": float("inf")})
    code, text = command("embedder", *out)
    assert code == 1
    assert "embedder stopped: step 1: loss is inf. No state was saved yet" in text


def write_people(folder, layout, size=16):
    """Images of the fake faces under names such as VGGFace2's and FFHQ's."""
    faces = FakeFaces()
    pixels = ((faces.images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    for index, identity in enumerate(faces.identities):
        path = folder / layout.format(identity=identity, index=index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).resize((size, size)).save(path)
    return folder


def test_the_real_command_on_a_folder_of_people(tmp_path):
    write_people(tmp_path / "people", "{identity}/{index}.png")
    line = [sys.executable, "-m", "smoothswap_lib.training", "embedder", "--profile", "quick"]
    line += ["--data", tmp_path / "people", "--out", tmp_path / "run"]
    line += ["--set", "size=32", "steps=2", "--set", "identities_per_batch=4"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors: 2 steps" in done.stdout
    assert "embedder 2/2" in done.stderr  # lines instead of a bar where there is no terminal
    assert "%|" not in done.stderr
    numbers = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert (numbers["images"], numbers["identities"], numbers["profile"]["size"]) == (48, 8, 32)
    assert set(training.open_data(tmp_path / "people", "embedder", 16).identities) == set(range(8))
    assert training.open_data(tmp_path / "people", "swapper", 16).size == 16


def test_targets_come_from_the_faces_and_sources_from_the_identities(tmp_path):
    """The paper's command through `accelerate launch`, with the paper's profile made small."""
    faces = write_people(tmp_path / "FFHQ", "00000/{index:05d}.png")
    people = write_people(tmp_path / "VGGFACE2", "train/n{identity:06d}/{index:04d}_01.jpg", size=20)
    line = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]
    line += [
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    line += ["-m", "smoothswap_lib.training", "swapper", "--profile", "paper", "--faces", faces]
    line += ["--identities", people, "--out", tmp_path / "run", "--resume", "--set", "size=16", "steps=2"]
    line += ["log_every=1", "channel_multipliers=1,1", "generator_width=8", "attention_resolutions=8"]
    line += ["blocks_per_level=1", "discriminator_base=64", "discriminator_max=8", "batch_size=4"]
    done = subprocess.run([str(part) for part in line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors: 2 steps" in done.stdout
    numbers = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert numbers["data"] == "FaceFolder FFHQ, sources FaceFolder VGGFACE2"
    assert (numbers["images"], numbers["sources"], numbers["embedder"]) == (48, 48, "supcon")


def test_sources_of_another_set_are_numbered_after_the_targets():
    numbers = profiles.get("paper").swapper
    target, source = training.swapper_batch(10, numbers, seed=0, step=3, num_sources=5)
    assert target.max() < 10 and source[0] == target[0]
    assert source[1:].min() >= 10 and source[1:].max() < 15
    both = datasets.Joined(FakeFaces(), FakeFaces())
    images = both.image_batch([50, 3, 95, 47])
    assert len(both) == 96 and torch.equal(images, FakeFaces().images[[2, 3, 47, 47]])


@pytest.mark.parametrize(
    ("arguments", "why"),
    (
        (("embedder", "--faces", "FFHQ"), "--faces is for the swapper"),
        (("embedder", "--data", "train", "--identities", "VGG"), "--data and --identities name the same set"),
        (("swapper", "--data", "train", "--faces", "FFHQ"), "--data and --faces name the same set"),
    ),
)
def test_two_names_for_one_set_are_refused(tmp_path, command, arguments, why):
    code, text = command(*arguments, "--profile", "tiny", "--out", tmp_path / "run")
    assert code == 2
    assert why in text


def test_help_shows_every_option_and_example():
    text = training_cli._parser().format_help()
    for part in (
        "--resume",
        "--seed",
        "--set",
        "--ship",
        "--data",
        "--faces",
        "--identities",
        "--embedder",
        "examples:",
        *profiles.names(),
    ):
        assert part in text
