"""The training command: settings, shipping with a card, errors without a traceback, help."""

import json
import subprocess
import sys

import pytest
from PIL import Image
from tiny_runs import ROOT, TINY, FakeFaces

from smoothswap_lib import checkpoints, datasets, files, profiles, training
from smoothswap_lib.training import __main__ as training_cli

pytestmark = pytest.mark.usefixtures("small_networks")


def test_settings_go_to_the_task_or_the_profile():
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
    monkeypatch.setattr(training, "open_data", lambda data, task, size: FakeFaces())
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
    swapper = ("swapper", "--profile", "tiny", "--out", second, "--embedder", first)
    swapper += ("--set", "steps=3", "log_every=1")
    code, text = command(*swapper, "--ship", "swapper")
    assert code == 2
    assert "ship the embedder's run first" in text

    code, text = command("embedder", "--profile", "tiny", "--out", first, "--resume", "--ship", "supcon")
    assert code == 0
    code, text = command(*swapper, "--resume", "--ship", "swapper")
    assert code == 0
    shipped = tmp_path / "data" / "checkpoints"
    assert len(list(shipped.iterdir())) == 4
    assert checkpoints.read_metadata(shipped / "swapper.safetensors")["embedder"] == "supcon"
    images = FakeFaces().images[:2]
    assert checkpoints.swap(images, images.flip(0)).shape == images.shape
    card = (shipped / "swapper.md").read_text()
    assert files.sha256(shipped / "swapper.safetensors") in card
    assert "| generator_width | 8 |" in card
    assert "| data | FakeFaces, 48 images |" in card
    assert training.ship(first, "supcon", {"AUC": 0.5}).is_file()
    assert "| AUC | 0.5 |" in (shipped / "supcon.md").read_text()


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
    line += ["--num_processes", "1", "--num_machines", "1"]
    line += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    line += ["-m", "smoothswap_lib.training", "swapper", "--profile", "paper", "--faces", faces]
    line += ["--identities", people, "--out", tmp_path / "run", "--resume", "--set", "size=16", "steps=2"]
    line += ["log_every=1", "channel_multipliers=1,1", "generator_width=8", "attention_resolutions=8"]
    line += ["blocks_per_level=1", "discriminator_base=64", "discriminator_max=8", "batch_size=4"]
    done = subprocess.run([str(part) for part in line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors: 2 steps" in done.stdout
    numbers = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert numbers["data"] == "FaceFolder FFHQ, sources FaceFolder VGGFACE2"
    assert (numbers["images"], numbers["sources"], numbers["embedder"]) == (48, 48, "robust")


def test_a_wrong_request_ends_in_one_line_and_exit_code_2(tmp_path, command):
    (tmp_path / "file").write_text("mine")
    run = ("--profile", "tiny", "--out", tmp_path / "run")
    for arguments, why in (
        (("embedder", *run, "--set", "steps=many"), "cannot read 'many'"),
        (("embedder", *run, "--set", "identities_per_batch=9"), "a batch needs 9 identities, the data has 8"),
        (("embedder", *run, "--seed", "-1"), "seed must be"),
        (("swapper", *run, "--embedder", "nobody"), "No weights are called 'nobody'"),
        (("embedder", *run, "--ship", "../escape"), "letters, digits and underscores"),
        (("embedder", "--profile", "tiny", "--out", tmp_path / "file"), "is a file: --out names the folder"),
        (("embedder", "--profile", "tiny", "--out", tmp_path / "file" / "run"), "Not a directory"),
        (("embedder", *run, "--faces", "FFHQ"), "--faces is for the swapper"),
        (("embedder", *run, "--data", "train", "--identities", "V"), "--data and --identities name the same"),
        (("swapper", *run, "--data", "train", "--faces", "F"), "--data and --faces name the same"),
    ):
        code, text = command(*arguments)
        assert code == 2 and why in text and "Traceback" not in text, text
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_or_is_stopped_ends_in_one_line_and_its_exit_code(tmp_path, monkeypatch, command):
    def failing(error):
        def record(self, *_):
            raise error

        return record

    for error, expected, why in (
        (OSError(28, "No space left on device"), 1, "after step 0: [Errno 28] No space left on device"),
        (
            ValueError("a.jpg cannot be read"),
            1,
            "after step 0: a.jpg cannot be read. No state is there",
        ),
        (training.NonFiniteError("step 1: loss is inf"), 1, "embedder stopped: step 1: loss is inf"),
        (training.Interrupted("Stopped after step 3", 15), 143, "Stopped after step 3"),
        (KeyboardInterrupt(), 130, "interrupted before its first step"),
    ):
        monkeypatch.setattr(training.Run, "record", failing(error))
        out = tmp_path / f"{type(error).__name__}"
        code, text = command("embedder", "--profile", "tiny", "--out", out)
        assert code == expected and why in text and "Traceback" not in text, text


class Shipped:
    """In the place of TrueSwap: what it was asked for."""

    identities = (0, 1)

    def __init__(self, split, **options):
        self.asked, self.size = (split, options), options.get("size", 64)


def test_shipped_data_have_the_size_that_the_profile_trains_at(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "TrueSwap", Shipped)
    with pytest.raises(training.RunError, match="the images ship in .*trueswap128, which is not there"):
        training.open_data("train", "swapper", 128)
    (tmp_path / "trueswap128").mkdir()
    assert training.open_data("train", "embedder", 128).asked == ("train", {"size": 128})


def test_a_folder_with_the_name_of_a_split_is_told_from_it(tmp_path, monkeypatch):
    write_people(tmp_path / "train", "{identity}/{index}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "TrueSwap", Shipped)
    with pytest.warns(UserWarning, match=r"train is the shipped TrueSwap split, .*write \./train"):
        training.open_data("train", "embedder", 64)
    assert len(training.open_data("./train", "embedder", 16)) == 48


def test_a_folders_fingerprint_is_that_of_its_file_names(tmp_path):
    first, same, other = (
        training.data_metadata(datasets.IdentityFolder(write_people(tmp_path / folder, layout), 16))
        for folder, layout in (
            ("a", "{identity}/{index}.png"),
            ("b/a", "{identity}/{index}.png"),
            ("c/a", "{identity}/x{index}.png"),
        )
    )
    assert first == same and (first["data"], first["images"]) == ("IdentityFolder a", 48)
    assert other["fingerprint"] != first["fingerprint"]
