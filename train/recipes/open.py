"""Checkpoints of recipes, opened without their data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from train.errors import CheckpointError
from train.fit.checkpoint import load_checkpoint
from train.fit.options import from_table
from train.recipes.cgan import Cgan
from train.recipes.dcgan import Dcgan
from train.recipes.run import Recipe
from train.recipes.srgan import Srgan

RECIPES: dict[str, type[Recipe]] = {"dcgan": Dcgan, "cgan": Cgan, "srgan": Srgan}


def open_recipe(path: Path) -> tuple[Recipe, nn.Module, dict[str, Any]]:
    """Open a checkpoint.

    Returns:
        the recipe, its generator in evaluation mode, and the state.

    Raises:
        CheckpointError: the file is missing, damaged, or not of a recipe.
    """
    state = load_checkpoint(path, {})
    table = state.get("recipe")
    if not isinstance(table, dict) or table.get("kind") not in RECIPES:
        raise CheckpointError(
            f"{path} is not a checkpoint of {', '.join(RECIPES)}; for deblurring networks, try evaluate"
        )
    recipe = from_table(RECIPES[table["kind"]], table, f"{path} recipe")
    generator = recipe.build_generator()
    load_checkpoint(path, {"generator": generator})
    return recipe, generator.eval(), state
