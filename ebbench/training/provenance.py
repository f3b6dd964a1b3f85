"""What the last bits of a training depend on beside its recipe: the arithmetic of the machine, and the images."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import torch

from ebbench.errors import UserError
from ebbench.training.data.datasets import Dataset


def arithmetic() -> Dict[str, Any]:
    """What decides the last bit of a sum: the torch build, the number of threads, the CPU's instruction set; on a GPU cuDNN.

    Which GPU it is stands in the manifest of a run.
    """
    capability = getattr(getattr(torch.backends, "cpu", None), "get_cpu_capability", None)
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": capability() if capability else None,  # torch 1.x does not say
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_initialized() else None,
    }


def images_of(dataset: Dataset) -> Dict[str, Any]:
    """What decides the images: the files, and what decodes them."""
    return {"data": dataset.fingerprint, "decoder": dataset.decoder}


def refuse_other_arithmetic(then: Mapping[str, Any]) -> None:
    """Raise UserError where resuming here would not end with the bits of an uninterrupted run."""
    now = arithmetic()
    names = {"torch": "torch", "threads": "CPU threads", "cpu": "CPU instruction set", "cudnn": "cuDNN"}
    faults = [f"{names[key]} {then[key]}, here {now[key]}" for key in names if key in then and then[key] != now[key]]
    if faults:
        raise UserError(
            f"the checkpoint was written with {'; '.join(faults)}: the result would differ in its last bits; "
            "resume where the run began, or start it anew with another --out"
        )


def refuse_other_images(then: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise UserError where resuming with this data set would go on with other images; `then`: what `images_of` gave."""
    if then["data"] != dataset.fingerprint:
        raise UserError(
            f"dataset {dataset.name!r} changed since the checkpoint was written: restore the old files, or start "
            "the run anew with another --out"
        )
    if then.get("decoder") != dataset.decoder:
        raise UserError(
            f"the checkpoint was written with {then.get('decoder')}, here is {dataset.decoder}: images would differ "
            "in their last bits; resume with the same, or start the run anew with another --out"
        )
