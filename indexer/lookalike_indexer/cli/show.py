"""`lookalike show`: one image in all spaces."""

from __future__ import annotations

import click

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import experiment_options, findings, open_view, shown, to_json, told

_CLUSTERS = ["clustering", "cluster", "size", "distance", "label", "purity", "own_share"]


@click.command()
@click.argument("key", metavar="KEY")
@click.option("--members", type=click.IntRange(0, 1000), default=23, show_default=True, help="Fellow members to show.")
@experiment_options
@reported
def show(key: str, collection: str, members: int, out: str | None, as_json: bool) -> None:
    """Show the stored image KEY: its cluster in every space, and what each model takes it for.

    --out draws a montage for each clustering, the image first and then the
    members of its cluster that are most like it in that space, and a chart of
    how far the clusterings agree.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.experiments.image_clusters import image_clusters

    view, folder = open_view(collection), open_out(out)
    row = view.row_of_key(key)
    result = image_clusters(view, row, members)
    if as_json:
        click.echo(to_json(result))
    else:
        predictions = result.tables["predictions"]
        told(
            findings(result),
            shown(predictions, ["model", "rank", "class", "probability"]) if len(predictions) else "",
            shown(result.tables["clusters"], _CLUSTERS, 100),
        )
    if folder is not None:
        from lookalike_indexer.pictures.image_clusters import agreement_figure, cluster_montages
        from lookalike_indexer.pictures.thumbnails import Thumbnails

        for name, picture in cluster_montages(result, row, Thumbnails(view)):
            folder.save(name, picture)
        figure = agreement_figure(result)
        if figure is not None:
            folder.save("agreement", figure)
        folder.tell(as_json)
