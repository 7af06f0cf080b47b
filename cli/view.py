"""`nvf-cli view`: a shard's bodies, or predicted people, in the browser."""

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--body", type=click.Path(path_type=Path), help="The body the shards were made with; ours by default.")
@click.option("--run", type=click.Path(path_type=Path), help="An evaluated run, whose predictions are drawn too.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 to be seen by other machines.")
@click.option("--port", default=8080, show_default=True)
def command(path: Path, body: Path | None, run: Path | None, host: str, port: int) -> None:
    """Show the views of PATH (a shard or a folder) in 3D: mesh, points coloured by distance, joints and their voters, and with
    --run what a network predicted; or the people of PATH, a folder that `predict` wrote."""
    from model.people.viewer import find_predictions, serve_predictions
    from pipeline.body.model import load_body
    from pipeline.look.viewer import read_predictions, serve

    predictions = find_predictions(path)
    if predictions is not None:
        server = serve_predictions(predictions, load_body(body), host, port)
    else:
        server = serve(path, load_body(body), host, port, read_predictions(run) if run else None)
    click.echo(f"http://{host}:{server.get_port()} shows {path}. Stop with Ctrl-C.")
    server.sleep_forever()
