"""What a training was asked for: the profile with its changes, and the data set of that name."""

import dataclasses
from pathlib import Path

from smoothswap_lib import datasets
from smoothswap_lib.profiles import Profile
from smoothswap_lib.training.run_folder import RunError


def apply_settings(profile: Profile, section: str, settings: list[str]) -> Profile:
    """The profile with NAME=VALUE texts applied, each to the section or else to the profile's own fields.

    Raises
    ------
    ValueError
        An unknown name (the known ones are listed), or a value that cannot be.
    """
    own = [field.name for field in dataclasses.fields(getattr(profile, section))]
    top = [f.name for f in dataclasses.fields(profile) if f.name not in ("name", "embedder", "swapper")]
    changes: dict[str, dict[str, str]] = {"profile": {}, section: {}}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, not {setting!r}")
        if name not in own + top:
            raise ValueError(
                f"--set {setting}: no number is called {name!r}. The {section} has {', '.join(own)}; "
                f"the profile has {', '.join(top)}"
            )
        changes[section if name in own else "profile"][name] = value
    return profile.override_all(changes)


def open_data(data, section: str, size: int):
    """A data set as it is, or the one of that name: a TrueSwap split or folder, else a folder of photographs.

    Raises
    ------
    RunError
        The images are not of the profile's size.
    FileNotFoundError, ValueError
        From the data set: what is missing or broken.
    """
    if isinstance(data, str | Path):
        of_photographs = Path(data).is_dir() and not (Path(data) / "build.json").exists()
        if str(data) in datasets.SPLITS or not of_photographs:
            data = datasets.TrueSwap(data)
        else:
            data = (datasets.IdentityFolder if section == "embedder" else datasets.FaceFolder)(data, size)
    if data.size != size:
        raise RunError(
            f"The images are {data.size} px, the profile trains at {size} px: "
            f"give --data of that size, or --set size={data.size}."
        )
    return data


def data_name(data) -> str:
    """For the run's records: kind and folder name, such as "TrueSwap train"."""
    folder = getattr(data, "folder", None) or getattr(data, "path", "")
    return f"{type(data).__name__} {Path(folder).name}".strip()
