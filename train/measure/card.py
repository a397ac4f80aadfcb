"""Model cards: `docs/models/<name>.md`, made from a manifest and the template `train/cards/<name>.md`.

All numbers come from the manifest, where `measure_model` puts them; the template has placeholders in the
syntax of `str.format`: `{scores[gopro-test][psnr_out]:.2f}`, `{tables[gopro-test]}`, `{suite}`, `{worst}`,
and `{parts[NAME]}` for `train/cards/parts/NAME.md`, text that several cards share. It starts, between two
lines of `+++`, with TOML: facts about the training that no checkpoint contains (data, licences, hardware,
commit), which are copied to the manifest.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rtdeblur import Deblurrer
from train.data.pictures import find_pairs
from train.errors import ConfigError
from train.fit.checkpoint import load_generator
from train.fit.config import load_config
from train.measure import harm
from train.measure.demo_scene import show_scene
from train.measure.detection import hog_people
from train.measure.evaluate import Restore, Row, Table, psnr, restore_with
from train.measure.metadata import architecture, training
from train.measure.report import measure
from train.measure.suite import Suite, mean_gain, suite_table
from train.networks.generators import Generator

ROOT = Path(__file__).parents[2]
KEPT = ("psnr_in", "psnr_out", "ssim_in", "ssim_out", "sharpness_ratio", "psnr_unharmed")
"""Scores per picture that a card shows."""
WORST = 5
"""Pictures in the table of failures."""
UNHARMED_SIZE = (480, 640)
"""Size (height, width) of the generated pictures that must not be harmed."""


@dataclass(frozen=True)
class PairSet:
    """Pairs to measure on.

    Attributes:
        name: name in manifest and template.
        folder: folder of the pairs.
        clip: whether they are consecutive frames, for measuring flicker.
    """

    name: str
    folder: Path
    clip: bool = False

    @classmethod
    def parse(cls, text: str, clip: bool = False) -> PairSet:
        """Read `NAME=FOLDER`."""
        name, _, folder = text.partition("=")
        if not name or not Path(folder).is_dir() or not folder:
            raise ConfigError(f"pairs are {text!r}, expected NAME=FOLDER with a folder that exists")
        return cls(name, Path(folder), clip)


def measure_model(
    name: str,
    checkpoint: Path,
    config: Path | None,
    sets: list[PairSet],
    suite: Suite | None = None,
    root: Path = ROOT,
) -> None:
    """Measure a checkpoint; write its facts and scores to the manifests of its bundle, and draw the picture.

    The picture is `docs/models/<name>.jpg`, a drawn street. Scores on sets that are not measured now are
    kept.

    Args:
        name: name of the bundle in `rtdeblur/models`.
        checkpoint: checkpoint that it was exported from.
        config: configuration of the network, if not in the checkpoint.
        sets: sets of pairs to measure on.
        suite: validation suite, for the table of means and the failures.
        root: root of the repository.

    Raises:
        CheckpointError, DataError: see `train.measure.report.report`.
        ConfigError: there is no such bundle.
    """
    manifest, detect = _read(_manifests(name, root)[0]), hog_people()
    pairs = {each: find_pairs(each.folder) for each in sets}
    given = load_config(config) if config else None
    generator, state = load_generator(checkpoint, given)
    generator.to("cuda" if torch.cuda.is_available() else "cpu")
    restore = restore_with(generator, 0 if manifest["dropout"] == "paper" else None)
    scores: dict[str, Any] = {}
    for each in sets:
        table, results = measure(restore, pairs[each], each.clip, detect)
        scores[each.name] = _kept(results.pop("mean")) | results
        scores[each.name]["pictures"] = {
            picture.removeprefix(f"{each.folder.name}/"): _kept(row) for picture, row in table.items()
        }
    if suite:
        scores["suite"] = rows = suite.measure(restore)
        if (overall := mean_gain(rows)) is not None:
            rows["mean"] = {"gain": overall}
    scores["unharmed"] = unharmed(generator, restore)
    scores["scene"] = show_scene(restore, root / "docs" / "models" / f"{name}.jpg")
    facts = {"architecture": architecture(generator), "training": training(checkpoint, state, given)}
    _update(name, root, facts | {"scores": manifest["scores"] | _rounded(scores)})


def redraw(name: str, root: Path = ROOT) -> None:
    """Regenerate the picture of a card, restored by the bundle; write its score to the manifests.

    Raises:
        ConfigError: there is no such bundle.
        ModelError: the bundle is damaged.
    """
    bundle = _manifests(name, root)[0]
    scores = _read(bundle)["scores"]
    with Deblurrer(str(bundle), backend="openvino", precision="fp32") as deblurrer:
        scene = show_scene(deblurrer.restore, root / "docs" / "models" / f"{name}.jpg")
    _update(name, root, {"scores": scores | {"scene": _rounded(scene)}})


def unharmed(generator: Generator, restore: Restore) -> Row:
    """Measure the PSNR in dB of generated pictures after restoring, and the grid on a smooth one (of 255)."""
    pictures = {name: draw(*UNHARMED_SIZE) for name, draw in harm.UNHARMED.items()}
    row = {name: psnr(restore(picture), picture) for name, picture in pictures.items()}
    smooth = torch.from_numpy(harm.smooth(256, 256)).float().to(next(generator.parameters()).device)
    with torch.inference_mode():
        change = generator.residual(smooth.expand(1, 3, -1, -1) * 2 - 1)[0].mean(0)
    return row | {"grid": harm.grid(change.double().cpu().numpy() * 127.5, generator.stride)}


def write_card(name: str, root: Path = ROOT) -> Path:
    """Write the card of a bundled model from its manifest and its template; return its path.

    Raises:
        ConfigError: template or manifest are missing, or a placeholder has no value in the manifest.
    """
    path = root / "train" / "cards" / f"{name}.md"
    matter, body = read_template(path)
    manifest = _read(_manifests(name, root)[0])
    manifest["training"] |= matter
    text = render(body, manifest, path)
    _update(name, root, {"training": manifest["training"]})
    card = root / "docs" / "models" / f"{name}.md"
    card.write_text(text, encoding="utf-8")
    return card


def read_template(path: Path) -> tuple[dict[str, Any], str]:
    """Split a template into the TOML between the lines `+++` and the body."""
    try:
        start, matter, body = path.read_text(encoding="utf-8").split("+++\n", 2)
        if start:
            raise ValueError("it does not start with a line '+++'")
        return tomllib.loads(matter), body.lstrip("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the template {path}: {error}; see train/cards/fast.md") from None


def render(body: str, manifest: dict[str, Any], path: Path) -> str:
    """Fill in the placeholders of a template's body."""
    scores, facts = manifest["scores"], manifest["training"]
    tables = {name: _pictures(row["pictures"], row) for name, row in scores.items() if "pictures" in row}
    values = manifest | {
        "name": path.stem,  # without the "-fp16" of a bundle
        "tables": tables,
        "worst": _worst(scores),
        "data": "\n".join(f"- {line}" for line in facts.get("data", [])),
        "curve": _curve(facts.get("curve", [])),
        "config": as_toml(facts.get("config", {})),
    }
    if "suite" in scores:
        values["suite"] = suite_table(scores["suite"])
    try:
        values["parts"] = {
            part.stem: part.read_text(encoding="utf-8").format_map(values)
            for part in path.parent.glob("parts/*.md")
            if f"{{parts[{part.stem}]}}" in body
        }
        return body.format_map(values)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__} {error}"
        raise ConfigError(
            f"the template {path} has a placeholder without a value in the manifest: {reason}; "
            "measure the model first (--checkpoint), or correct the template"
        ) from None


def _pictures(table: Table, mean: Row) -> str:
    lines = [
        "| picture | PSNR in | out | gain | SSIM in | out | sharpness | unharmed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in [*table.items(), ("**mean**", mean)]:
        gain = row["psnr_out"] - row["psnr_in"]
        cells = [name, f"{row['psnr_in']:.2f}", f"{row['psnr_out']:.2f}", f"{gain:+.2f}"]
        cells += [f"{row['ssim_in']:.3f}", f"{row['ssim_out']:.3f}"]
        cells += [f"{row['sharpness_ratio']:.2f}", f"{row['psnr_unharmed']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _worst(scores: dict[str, Any]) -> str:
    """Format the pictures with the smallest gain of all sets of pairs."""
    rows = [
        (row["psnr_out"] - row["psnr_in"], f"{name} {picture}", row)
        for name, scored in scores.items()
        for picture, row in scored.get("pictures", {}).items()
    ]
    lines = ["| picture | PSNR in | gain | unharmed |", "|---|---:|---:|---:|"]
    for gain, picture, row in sorted(rows, key=lambda each: each[0])[:WORST]:
        lines.append(f"| {picture} | {row['psnr_in']:.2f} | {gain:+.2f} | {row['psnr_unharmed']:.1f} |")
    return "\n".join(lines)


def _curve(points: list[Row]) -> str:
    lines = ["| steps | hours | PSNR | SSIM |", "|---:|---:|---:|---:|"]
    lines += [f"| {p['steps']:,} | {p['hours']:.2f} | {p['psnr']:.2f} | {p['ssim']:.3f} |" for p in points]
    return "\n".join(lines)


def as_toml(table: dict[str, Any], name: str = "") -> str:
    """Format a configuration as TOML; JSON's numbers, strings and arrays are valid TOML."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict) and value is not None}
    inner = [as_toml(v, f"{name}.{k}" if name else k) for k, v in table.items() if isinstance(v, dict)]
    lines = [f"[{name}]"] if name and (plain or not inner) else []  # an empty table has a meaning too
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    return "\n".join([*lines, *inner])


def _kept(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in KEPT}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(float(value), 4)


def _manifests(name: str, root: Path) -> list[Path]:
    """Paths of the manifests of a model in all its precisions, the exact one first."""
    paths = [root / "rtdeblur" / "models" / f"{name}{end}.json" for end in ("", "-fp16", "-int8")]
    return [path for path in paths if path.is_file()] or paths


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the manifest {path}: {error}; export the model there first") from None


def _update(name: str, root: Path, values: dict[str, Any]) -> None:
    for path in _manifests(name, root):
        manifest = _read(path)
        own = manifest["architecture"]  # an int8 bundle names the one that it was made of
        merged = manifest | values | {"architecture": own | values.get("architecture", {})}
        path.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
