"""Backbones of the transformers library: read from the hub or a folder, fitted to square crops, and made again from plain values.

Nothing that is read may carry code: weights are safetensors only, and models with code of their own are refused.
"""

import contextlib
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import InputError

# Of ImageNet, where a folder does not say what its network was normalised with.
IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


def library() -> Any:
    """The transformers package. Raises InputError when it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f'The encoder "backbone" needs the package transformers ({error}). Install it: pip install '
            '"neural-voting-field-body[backbones]".'
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load(name: str) -> tuple[Any, dict]:
    """(the published backbone in float32 with every stage as an output, what its preprocessor says) of a name or folder.

    A pose network that has a backbone inside gives that. Raises InputError when it cannot be had.
    """
    transformers = library()
    _refuse_paths(name)
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        inner = getattr(config, "backbone_config", None)
        if inner is None:
            kind = _backbone_class(transformers, type(config), name)
            config.out_features = list(config.stage_names)
            network, missing = _read(kind, name, config)
        else:
            _backbone_class(transformers, type(inner), name)
            inner.out_features = list(inner.stage_names)
            whole, missing = _read(_whole_class(transformers, config, name), name, config)
            network, missing = whole.backbone, [key for key in missing if key.startswith("backbone.")]
    except InputError:
        raise
    except Exception as error:  # whatever transformers meets in files from outside, or on the way to the hub
        raise InputError(_unreadable(name, error)) from error
    # Norms that transformers puts on outputs are new, and change nothing to begin with.
    missing = [key for key in missing if "hidden_states_norms" not in key]
    if missing:
        raise InputError(
            f"{name} lacks {len(missing)} of its backbone's tensors, {', '.join(missing[:3])} among them: it holds other weights "
            "than its config.json says. Fetch it again, or name another."
        )
    return network.eval(), _processor(transformers, name)


def resized(published: Any, side: int, outputs: Sequence[str]) -> Any:
    """The same backbone for images of this side, with these stages as outputs. Position embeddings are interpolated."""
    config = copy.deepcopy(published.config)
    before = getattr(config, "image_size", None)
    if before is not None:
        config.image_size = side if isinstance(before, int) else [side, side]
    config.out_features = list(outputs)
    network = type(published)(config).eval()
    state = published.state_dict()
    for name, own in network.state_dict().items():
        if state[name].shape != own.shape:
            if not name.endswith("position_embeddings") or own.ndim != 3:
                raise ValueError(f"its {name} is for images of {before} px")
            state[name] = _interpolated(state[name], own.shape[1], before, patch_size(config))
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network


def from_configuration(values: dict) -> nn.Module:
    """A backbone without its weights, from what `plain` gave."""
    transformers = library()
    config = transformers.AutoConfig.for_model(values["model_type"]).from_dict(values)
    return _backbone_class(transformers, type(config), values["model_type"])(config)


def plain(config: Any) -> dict:
    """A transformers configuration as values that JSON can hold."""
    return json.loads(config.to_json_string(use_diff=False))


def normalisation(processor: dict) -> dict:
    """mean and std, of pixels in 0..1, of what a preprocessor says."""
    if processor.get("do_normalize", True) is False:
        return {"mean": [0.0] * 3, "std": [1.0] * 3}
    said = {key: processor.get(key) or list(default) for key, default in IMAGENET.items()}
    return {"mean": said["image_mean"], "std": said["image_std"]}


def patch_size(config: Any) -> int:
    """Side of a patch, pixels; 1 where the backbone has none."""
    size = getattr(config, "patch_size", None) or 1
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise InputError(f"A backbone with patches of {size} pixels cannot be read; they must be square.")
    return sides.pop()


def _refuse_paths(name: str) -> None:
    """InputError for a folder that is not there, or holds no weights."""
    path = Path(name)
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir())
        wanting = [what for what in ("config.json", ".safetensors") if not any(file.endswith(what) for file in files)]
        if wanting:
            raise InputError(
                f"{path} holds no {' and no '.join(wanting)} (it holds {', '.join(files[:6]) or 'nothing'}). Save a backbone there "
                "with save_pretrained, which writes both; weights in other formats are not read."
            )
    elif path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(
            f"encoder.name: {name} is no folder. Give a backbone's folder, or its name on the hub, like facebook/dinov2-base."
        )


def _unreadable(name: str, error: Exception) -> str:
    cached = []
    with contextlib.suppress(Exception):  # there is no cache, or no such package
        import huggingface_hub

        cached = sorted(repo.repo_id for repo in huggingface_hub.scan_cache_dir().repos)
    here = f" Downloaded before: {', '.join(cached[:8])}." if cached else " No model has been downloaded before."
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).is_dir():
        return f"{name} cannot be read as a backbone ({reason}). Save one there with save_pretrained."
    return (
        f"The backbone {name} cannot be read ({reason}).{here} Without network, fetch it elsewhere (`hf download {name} --local-dir "
        "FOLDER`) and give FOLDER."
    )


def _backbone_class(transformers: Any, kind: Any, name: str) -> type[nn.Module]:
    mapping = transformers.MODEL_FOR_BACKBONE_MAPPING
    if kind not in mapping:
        known = sorted(config.model_type for config in mapping)
        raise InputError(
            f"{name} is of the kind {kind.model_type!r}, which has no backbone in transformers. These have: {', '.join(known)}."
        )
    return mapping[kind]


def _whole_class(transformers: Any, config: Any, name: str) -> type[nn.Module]:
    """The network around a backbone that a configuration names."""
    named = (config.architectures or [""])[0]
    kind = getattr(transformers, named, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise InputError(
            f"{name} says that it is a {named or 'network without a name'}, which transformers does not have."
        )
    return kind


def _read(kind: Any, name: str, config: Any) -> tuple[Any, list[str]]:
    network, said = kind.from_pretrained(
        name,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    return network, sorted(said["missing_keys"])


def _processor(transformers: Any, name: str) -> dict:
    """preprocessor_config.json, empty where there is none."""
    try:
        return transformers.ImageProcessingMixin.get_image_processor_dict(name)[0]
    except (OSError, ValueError):
        return {}


def _interpolated(embeddings: Tensor, tokens: int, image_size: Any, patch: int) -> Tensor:
    """(1, T, C) position embeddings for another number of tokens; those in front that have no place stay as they are."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    rows, columns = height // patch, width // patch
    extra = embeddings.shape[1] - rows * columns
    side = round((tokens - extra) ** 0.5)
    grid = embeddings[:, extra:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return torch.cat([embeddings[:, :extra], grid.flatten(2).transpose(1, 2)], 1)
