"""`mamtra serve`: flags to a recipe, a server until it is stopped."""

from mamtra_cli.cli.console import Console, facts
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.serve import ServeRecipe, ServeResult


@command(ServeRecipe)
def serve(recipe: ServeRecipe, console: Console) -> None:
    """Speak to many callers over HTTP.

    OpenAI's speech endpoint, a WebSocket for text that arrives in parts, and a page for people.
    Ctrl-C lets those who are being spoken to hear the end.

    \b
    Examples:
      $ mamtra serve
      $ mamtra serve student --port 9000 --warmup
      $ curl 127.0.0.1:8880/v1/audio/speech -d '{"input": "Hello."}' -o hello.mp3
    """
    from mamtra_cli.tasks.serve import serve as run
    from mamtra_cli.tasks.voice import add_voice

    result = run(recipe, console.report, add_voice)
    console.result(result, words(result))


def words(result: ServeResult) -> list[str]:
    """Return where it was served, and for how long."""
    return [result.address, *facts({"served": f"{result.model} for {result.seconds:.0f} s"})]
