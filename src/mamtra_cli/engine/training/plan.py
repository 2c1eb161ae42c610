"""What a distillation will do and need, in words, before it starts; and the reading of its data.

Knows recipes and an opened pair.
"""

from collections.abc import Sequence
from pathlib import Path

from mamtra_cli.engine.lessons.examples import BatchSource, read_examples
from mamtra_cli.engine.preparing.shards import SUFFIX as SHARD_SUFFIX
from mamtra_cli.engine.preparing.shards import model_hashes, read_folder
from mamtra_cli.engine.students.pair import Pair
from mamtra_cli.engine.training.memory import Memory, estimate
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.engine.training.stages import NEW, half, passes_of
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes.distill import DistillRecipe

POSITIONS_A_TOKEN = 1.5  # with phones for text, as mini reads; word pieces are fewer


def read_data_of(path: Path, pair: Pair) -> list[Example]:
    """Read a JSONL file, or a folder of shards that must be made for this model."""
    sizes = pair.student.facts.sizes
    if not path.is_dir() and path.suffix != SHARD_SUFFIX:
        return read_examples(path, pair.student.encode, **sizes)
    hashes = model_hashes(pair.student)
    return read_folder(
        path, speech_tokenizer=hashes.speech_tokenizer, front_end=hashes.front_end, **sizes
    )


def positions_of(recipe: DistillRecipe, pair: Pair, examples: Sequence[Example] = ()) -> int:
    """Padded positions of a pass, of all processes together; without the data a guess."""
    if examples:
        return passes_of(recipe, examples, pair.student.lessons)[0]
    wanted = round(POSITIONS_A_TOKEN * recipe.batch_tokens)
    return wanted // -(-wanted // recipe.pass_positions)


def memory_of(
    recipe: DistillRecipe,
    pair: Pair,
    trainable: int,
    world: World,
    examples: Sequence[Example] = (),
) -> Memory:
    """What one process will hold."""
    return estimate(
        pair,
        trainable,
        positions_of(recipe, pair, examples) // world.size,
        everything=recipe.lr_rest > 0,
        again=recipe.checkpoint_activations,
        half=half(recipe, pair.student.device.type),
        ema=recipe.ema > 0,
    )


def plan_of(recipe: DistillRecipe, pair: Pair, trainable: int, world: World) -> dict[str, str]:
    """The stages in words."""
    examples = [] if recipe.data is None else read_data_of(recipe.data, pair)
    memory = memory_of(recipe, pair, trainable, world, examples)
    new = sum(p.numel() for name, p in pair.student.lessons.lm.named_parameters() if NEW in name)
    plan = {}
    if recipe.calibrate:
        plan["stage C"] = f"{recipe.calibrate} on {recipe.calibrate_tokens} tokens, no gradient"
    rates = {
        "stage 0": (recipe.align_steps, recipe.lr if recipe.align_lr is None else recipe.align_lr),
        "stage 1": (recipe.steps, recipe.lr),
        "stage 2": (recipe.own_steps, recipe.lr / 3 if recipe.own_lr is None else recipe.own_lr),
    }
    what = {
        "stage 0": f"{new} parameters, each layer alone",
        "stage 2": f"{recipe.own_share:.0%} own",
    }
    for name, (steps, rate) in rates.items():
        if steps:
            more = what.get(name, f"{trainable} parameters")
            plan[name] = f"{steps} steps of {recipe.batch_tokens} tokens, rate {rate:g}, {more}"
    if examples:
        budget, passes = passes_of(recipe, examples, pair.student.lessons)
        tokens = sum(example.frames for example in examples)
        source = BatchSource(
            examples,
            budget=budget,
            seed=recipe.seed,
            packed=recipe.packing,
            size=pair.student.lessons.size,
        )
        epoch = source.epoch_length() / passes
        plan["data"] = (
            f"{len(examples)} utterances, {tokens} tokens, {epoch:.1f} steps an epoch, "
            f"{passes} passes of {budget} positions a step"
        )
    each = "a process, " if world.size > 1 else ""
    plan["memory"] = (
        f"{each}about {memory.total / 1e6:.0f} MB at once: weights {memory.weights / 1e6:.0f}, "
        f"gradients and optimizer {memory.optimizer / 1e6:.0f}, activations "
        f"{memory.activations / 1e6:.0f}, logits {memory.logits / 1e6:.0f}"
    )
    if recipe.report:
        plan["report"] = f"{recipe.report_sentences} sentences, by student and teacher"
    return plan
