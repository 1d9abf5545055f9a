"""The group of all verbs, and how it fails: one line, and an exit code that tells the truth."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from atop.cli.browse import browse
from atop.cli.care import checkpoint, compact, recover, verify
from atop.cli.copies import backup, restore
from atop.cli.key import encrypt, key
from atop.cli.look import files, get, info, pools
from atop.cli.output import clean
from atop.cli.query import query
from atop.cli.saving import salvage
from atop.cli.serve import serve, token
from atop.cli.shell import shell
from atop.errors import AtopError


class _Verbs(click.Group):
    """Atop's errors, and the system's, are one line for the user."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except AtopError as error:
            raise click.ClickException(clean(str(error))) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise click.ClickException(clean(f"{error.filename}: {error.strerror}")) from error


def _version() -> str:
    try:
        return version("atopdb")
    except PackageNotFoundError:
        return "not installed"


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="atopdb")
def cli() -> None:
    """Look into Atop stores, and take care of them.

    A verb that only reads writes nothing; it has one exception: a store that was not closed in
    order is recovered before anything else. Classes of items are imported where Python finds
    them; set PYTHONPATH for those of your own programs.

    STORE_OR_URL is a folder, or the address of a server, such as atop://host:2972. What a server
    asks for is in the environment: ATOP_TOKEN or a file named by ATOP_TOKEN_FILE, ATOP_CERT and
    ATOP_CERT_KEY; ATOP_CA names the file of its authority. So is the key of an encrypted store:
    ATOP_KEY, or a file named by ATOP_KEY_FILE; without them it is asked for at the terminal.

    Exit codes: 0 all is well, 1 a problem was found or something went wrong, 2 wrong usage.

    \b
    Example:
      atopdb query pim.atop people name --from Bob --limit 10
    """


for _verb in (
    info, pools, query, get, files, browse, shell, serve, token,
    verify, recover, checkpoint, compact, backup, restore, salvage, encrypt, key,
):
    cli.add_command(_verb)


def run() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="atopdb")


