"""What a training was asked for: the profile with its changes, and the data set of that name."""

import dataclasses
import hashlib
import warnings
from pathlib import Path

import numpy as np

from smoothswap_lib import datasets
from smoothswap_lib.files import data_folder
from smoothswap_lib.profiles import Profile
from smoothswap_lib.runs.folder import RunError


def apply_settings(profile: Profile, task: str, settings: list[str]) -> Profile:
    """The profile with NAME=VALUE texts applied, each to the task's config or else to the profile itself.

    Raises
    ------
    ValueError
        An unknown name (the known ones are listed), or a value that cannot be.
    """
    own = [field.name for field in dataclasses.fields(getattr(profile, task))]
    top = [f.name for f in dataclasses.fields(profile) if f.name not in ("name", "embedder", "swapper")]
    changes: dict[str, dict[str, str]] = {"profile": {}, task: {}}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, not {setting!r}")
        if name not in own + top:
            raise ValueError(
                f"--set {setting}: no number is called {name!r}. The {task} has {', '.join(own)}; "
                f"the profile has {', '.join(top)}"
            )
        changes[task if name in own else "profile"][name] = value
    return profile.override_all(changes)


def open_data(data, task: str, size: int):
    """A data set as it is, or the one of that name: a TrueSwap split or folder, else a folder of photographs.

    Raises
    ------
    RunError
        The images are not of the profile's size, or nothing is named.
    FileNotFoundError, ValueError
        From the data set: what is missing or broken.
    """
    if isinstance(data, str | Path):
        if not str(data):
            raise RunError("an empty name of a data set: give a TrueSwap split (train, test) or a folder.")
        if str(data) in datasets.SPLITS:
            data = _shipped_split(str(data), size)
        elif Path(data).is_dir() and not (Path(data) / "build.json").exists():
            data = (datasets.IdentityFolder if task == "embedder" else datasets.FaceFolder)(data, size)
        else:
            data = datasets.TrueSwap(data)
    if data.size != size:
        raise RunError(
            f"The images are {data.size} px, the profile trains at {size} px: "
            f"give --data of that size, or --set size={data.size}."
        )
    return data


def _shipped_split(split: str, size: int):
    if Path(split).is_dir():
        text = f"{split} is the shipped TrueSwap split, not the folder here: write ./{split} for that one"
        warnings.warn(text, stacklevel=3)
    if not (data_folder() / "trueswap128").is_dir():
        raise RunError(
            f"the images ship in {data_folder() / 'trueswap128'}, which is not there: get the "
            "repository with its third edition, or give --data a folder."
        )
    return datasets.TrueSwap(split, size=size)


def data_metadata(data) -> dict[str, object]:
    """For the run's records: kind and folder ("TrueSwap train"), number of images, and a fingerprint.

    The fingerprint tells which images in which order, and whose: names of files, and identities.
    """
    folder = getattr(data, "folder", None) or getattr(data, "path", "")
    digest = hashlib.sha256(np.asarray(getattr(data, "identities", len(data)), dtype=np.int64).tobytes())
    for file in getattr(data, "files", ()):
        digest.update(f"{Path(file).relative_to(folder).as_posix()}\n".encode(errors="surrogateescape"))
    name = f"{type(data).__name__} {Path(folder).name}".strip()
    return {"data": name, "images": len(data), "fingerprint": digest.hexdigest()[:16]}
