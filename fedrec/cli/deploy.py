"""``fedrec deploy``: make a deployment, look at it, approve code."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedrec.errors import UserError
from fedrec.offline import go_offline
from fedrec.report.tables import print_lines, print_table

app = typer.Typer(help="One host per market.", no_args_is_help=True, rich_markup_mode=None)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder of a deployment, or of one host's part of it")]
Market = Annotated[str, typer.Option(help="the market")]
Host = Annotated[
    str | None,
    typer.Option(help="name or address under which the markets reach the coordinator; without it: one machine"),
]
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="a package whose components come along, as often as needed")
]
Masks = Annotated[bool, typer.Option("--masks", help="markets take part in masked sums only")]


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="new folder")],
    markets: Annotated[str, typer.Option(help="names, separated by commas")],
    host: Host = None,
    masks: Masks = False,
) -> None:
    """Make keys, certificates and compose files; nothing that exists is overwritten."""
    from fedrec.deployment.create import create_deployment

    names = [name.strip() for name in markets.split(",") if name.strip()]
    folder = create_deployment(directory, names, host, masks)
    lines = [f"made {folder.path} for {len(names)} markets; next:"]
    if host is None:
        lines += [
            f"  put each market's store into {folder.path}/markets/NAME/data (or: fedrec data synth)",
            f"  fedrec deploy approve {folder.path}          # code that may run here",
            f"  cd {folder.path} && docker compose up -d",
            "  docker compose exec coordinator fedrec run RECIPE --engine deploy --connection /deployment",
        ]
    else:
        lines += [
            f"  carry {folder.coordinator.path} to {host}, each {folder.path}/markets/NAME to its host, by a safe way",
            f"  keep {folder.authority_key} off every host",
            "  on every host, in its part: fedrec deploy approve . && fedrec deploy check . && docker compose up -d",
            "  there: docker compose exec coordinator fedrec run RECIPE --engine deploy --connection /deployment",
        ]
    print_lines(Console(markup=False), lines)


@app.command()
def check(directory: Folder) -> None:
    """Verify certificates, keys, modes, ports, versions and consent; exit code 1 where something fails."""
    go_offline()
    from fedrec.deployment.check import check_folder

    findings = check_folder(directory)
    lines = [
        f"{finding.level:4}  {finding.what}" + (f"; {finding.remedy}" if finding.remedy else "") for finding in findings
    ]
    print_lines(Console(markup=False), lines)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


@app.command()
def nodes(
    connection: Annotated[str, typer.Argument(help="a folder that `fedrec deploy init` made, or its name")],
) -> None:
    """Print who is let in, and who of them is online."""
    go_offline()
    from fedrec.deployment.connection import Connection

    with Connection.open(connection).control() as control:
        rows = [[node.market or "(no market here)", str(node.number), node.status] for node in control.nodes()]
    print_table(Console(markup=False), "Nodes", ["market", "node", "status"], sorted(rows))


@app.command()
def bundle(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="new file, such as fedrec.fab")],
    plugin: Plugins = None,
) -> None:
    """Write the bundle that this version sends to the markets, for their operators to read."""
    go_offline()
    from fedrec.deployment.bundle import own_bundle
    from fedrec.files import write_atomic

    if path.exists():
        raise UserError(f"{path}: exists; choose another name or remove it")
    made = own_bundle(tuple(plugin or ()))
    write_atomic(path, made.data)
    print_lines(Console(markup=False), [f"{made.hash}  {path} ({len(made.contents())} files)"])


@app.command()
def approve(
    directory: Folder,
    path: Annotated[
        Path | None, typer.Option("--bundle", help="a bundle; default: that of the version installed here")
    ] = None,
    plugin: Plugins = None,
    yes: Annotated[
        str | None, typer.Option(help="the hash, where a bundle differs from the version here and you have read it")
    ] = None,
) -> None:
    """Allow a bundle to run on the hosts whose parts lie in DIR. Read it first: it sees the market's data."""
    go_offline()
    from fedrec.deployment.bundle import approve as approve_bundle
    from fedrec.deployment.bundle import differences, own_bundle, read_bundle
    from fedrec.deployment.check import parts_of

    own = own_bundle(tuple(plugin or ()))
    chosen = own if path is None else read_bundle(path)
    same = chosen.hash == own.hash
    lines = [f"bundle {chosen.hash}"]
    lines.append("the same as the version installed here" if same else "differs from the version here in:")
    differing = [] if same else differences(chosen, own) or ["no file, but in the archive around them"]
    lines += [f"  {''.join(c if c.isprintable() else '?' for c in name)}" for name in differing]
    parts = parts_of(directory)
    if not same and yes != chosen.hash:
        lines.append(
            f"nothing is approved yet; read these files (a bundle is a zip archive), then: --yes {chosen.hash}"
        )
        print_lines(Console(markup=False), lines)
        raise typer.Exit(1)
    for part in parts:
        added = approve_bundle(part.approved, chosen, "installed version" if path is None else path.name)
        lines.append(f"{part.approved}: {'approved' if added else 'was approved already'}")
    print_lines(Console(markup=False), lines)


@app.command("add-market")
def add_market(directory: Folder, market: Market) -> None:
    """Make a part for one more market, signed by the deployment's authority."""
    from fedrec.deployment.create import add_market as add

    part = add(directory, market)
    lines = [
        f"made {part.path}; its public key is in every part here",
        f"copy keys/{market}.pub to keys/ on the coordinator's host (for masked sums on the markets' too);",
        "there the market is let in within seconds",
    ]
    print_lines(Console(markup=False), lines)


@app.command("rotate-key")
def rotate_key(directory: Folder, market: Market) -> None:
    """Give a market a fresh node key."""
    from fedrec.deployment.create import rotate_key as rotate

    part = rotate(directory, market)
    lines = [
        f"{part.identity}: fresh; its public key is in every part here",
        "copy it to the market's host and keys/ to the coordinator's (for masked sums to all), where the old key is",
        "let in no more after ten seconds; then restart the market's node",
    ]
    print_lines(Console(markup=False), lines)


@app.command()
def renew(directory: Folder) -> None:
    """Make every server certificate anew, signed by the deployment's authority."""
    from fedrec.deployment.create import renew_certificates

    paths = renew_certificates(directory)
    lines = [f"{path}: renewed" for path in paths]
    print_lines(Console(markup=False), [*lines, "copy server.crt and server.key to their hosts and restart them"])
