"""`mamtra serve`: flags to a recipe, a server until it is stopped."""

from mamtra_cli.cli.console import Console, facts
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.serve import ServeRecipe, ServeResult, ServeStart


@command(ServeRecipe)
def serve(recipe: ServeRecipe, console: Console) -> None:
    """Speak to many callers over HTTP.

    OpenAI's speech endpoint, a WebSocket for text that arrives in parts, and a page for people.
    Ctrl-C ends it well (exit 0) once those who are being spoken to have heard the end; a second
    one cuts them off (130). With --json the address is a line of its own as soon as callers may
    come, and the result another when it ends.

    \b
    Examples:
      $ mamtra serve
      $ mamtra serve student --port 9000 --warmup
      $ curl 127.0.0.1:8880/v1/audio/speech -d '{"input": "Hello."}' -o hello.mp3
    """
    from mamtra_cli.tasks.serve import serve as run
    from mamtra_cli.tasks.voice import add_voice

    def ready(start: ServeStart) -> None:
        if console.as_json:
            console.result(start)

    result = run(recipe, console.report, add_voice, ready)
    console.result(result, words(result))


def words(result: ServeResult) -> list[str]:
    """Return where it was served, and for how long."""
    return [result.address, *facts({"served": f"{result.model} for {result.seconds:.0f} s"})]
