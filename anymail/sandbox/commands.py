"""The command line of the sandbox."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TextIO

from ..providers import PROVIDERS
from . import demo, failover
from .faults import PROBLEMS, Fault, parse_fault
from .providers import load_provider
from .report import Report
from .server import CONTROL, Sandbox, logger
from .site import DemoSite
from .store import Store

DEFAULT_PORT = 8035
MAX_DETAILED = 2
"""Of how many providers the demo shows details, unless asked to."""


def main(arguments: Sequence[str] | None = None, stream: TextIO | None = None) -> int:
    """Run a command, by default that of the process. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        command: int = options.command(options, stream or sys.stdout)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads on, as in `... | head`. Python would try once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anymail.sandbox",
        description="A local stand-in for email service providers.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo_parser = commands.add_parser(
        "demo", help="send mail and receive webhooks, all on this computer, and check what arrives"
    )
    which = demo_parser.add_mutually_exclusive_group()
    which.add_argument(
        "--esp",
        action="append",
        dest="names",
        metavar="NAME",
        type=_usable_provider,
        help="a provider, can be repeated; "
        f"default: {' and '.join(demo.DEFAULT_PROVIDERS)}; "
        f"there are {', '.join(PROVIDERS)}",
    )
    which.add_argument(
        "--all",
        action="store_const",
        const=tuple(PROVIDERS),
        dest="names",
        help="all providers, as far as the packages that they need are installed",
    )
    demo_parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help=f"show each message and event, of more than {MAX_DETAILED} providers, too",
    )
    demo_parser.add_argument(
        "--serve", action="store_true", help="then keep the sandbox and the Django site running"
    )
    demo_parser.add_argument(
        "--fault", choices=demo.FAULTS, help="break something, to see that the demo notices"
    )
    demo_parser.add_argument(
        "--failover",
        action="store_true",
        help="instead, show messages that arrive although the first of two providers fails",
    )
    demo_parser.set_defaults(command=_demo)

    serve_parser = commands.add_parser("serve", help="run the sandbox for a project of yours")
    serve_parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="default: %(default)s; 0: any free port"
    )
    serve_parser.add_argument(
        "--webhook-url",
        metavar="URL",
        help="where your site includes anymail.urls, such as http://127.0.0.1:8000/anymail/",
    )
    serve_parser.add_argument(
        "--esp",
        action="append",
        dest="names",
        default=[],
        metavar="NAME",
        type=_known_provider,
        help="print only the settings for this provider, can be repeated; default: for all",
    )
    add_options(serve_parser)
    serve_parser.set_defaults(command=_serve)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``manage.py anymail_sandbox`` has, too."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="keep messages, and all else that the page has, in this directory",
    )
    parser.add_argument(
        "--fault",
        action="extend",
        dest="faults",
        default=[],
        metavar="FAULT",
        type=_faults,
        help="what goes wrong, can be repeated: [PROVIDER=]PROBLEM[:SECONDS][xCALLS or @SHARE%%], "
        f"where PROBLEM is {', '.join(PROBLEMS)}; such as busy:3 (come back in 3 seconds), "
        "postmark=accountx5 (5 calls), unclear@20%% (a fifth of them), mailgun=unreachable:5 (for "
        "5 seconds)",
    )


def _usable_provider(name: str) -> str:
    """Return the name of a provider whose packages are there. Raises ArgumentTypeError."""
    name = _known_provider(name)
    provider = load_provider(name, Store())
    if missing := provider.missing_packages:
        raise argparse.ArgumentTypeError(f"{provider.esp_name} needs {missing}")
    return name


def _known_provider(name: str) -> str:
    """Return the name of a provider. Raises ArgumentTypeError."""
    name = name.lower().replace("-", "_")
    try:
        return load_provider(name, Store()).name
    except LookupError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _faults(text: str) -> list[Fault]:
    """Return the fault in an argument; if it's about connections to all providers, one for each."""
    try:
        fault = parse_fault(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    if fault.provider is not None and fault.provider not in PROVIDERS:
        raise argparse.ArgumentTypeError(
            f"The sandbox has no provider {fault.provider!r}, only {', '.join(PROVIDERS)}"
        )
    if fault.problem == "unreachable" and fault.provider is None:
        return [replace(fault, provider=name) for name in PROVIDERS]
    return [fault]


def _demo_failover(names: Sequence[str], stream: TextIO) -> int:
    if len(names) != 2:
        Report(stream).line("--failover needs two providers: --esp FIRST --esp SECOND")
        return 2
    first, second = names
    with demo.no_proxy(), Sandbox(own_ports=[first]) as sandbox:
        demo.configure_django(failover.failover_settings(sandbox, first, second))
        passed = failover.run_failover(sandbox, stream, first, second)
    return 0 if passed else 1


def _demo(options: argparse.Namespace, stream: TextIO) -> int:
    names = list(dict.fromkeys(options.names or demo.DEFAULT_PROVIDERS))
    if options.failover:
        return _demo_failover(names, stream)
    details = options.verbose or len(names) <= MAX_DETAILED
    with ExitStack() as stack:
        stack.enter_context(demo.no_proxy())
        sandbox = stack.enter_context(Sandbox())
        demo.configure_django(demo.demo_settings(sandbox))
        site = stack.enter_context(DemoSite())
        if options.fault:
            demo.break_on_purpose(sandbox, options.fault)
        passed = demo.run_demo(sandbox, site, stream, names, details=details)
        if options.serve:
            report = Report(stream)
            report.heading("Still running")
            _explain(sandbox, report)
            report.line()
            report.line(f"Events are listed at {site.base_url}/, with buttons to send messages.")
            report.line(f"    curl -X POST {site.base_url}/send/postmark/")
            _wait(report)
    return 0 if passed else 1


def _serve(options: argparse.Namespace, stream: TextIO) -> int:
    report = Report(stream)
    try:
        sandbox = Sandbox(
            port=options.port,
            webhook_url=options.webhook_url,
            directory=options.store,
            own_ports={
                fault.provider: None for fault in options.faults if fault.problem == "unreachable"
            },
        )
    except (LookupError, OSError, ValueError) as err:
        report.line(f"The sandbox can't start: {describe(err)}")
        return 1
    with sandbox:
        for fault in options.faults:
            sandbox.add_fault(fault)
        report.line("Anymail sandbox: a local stand-in for email service providers.")
        report.line()
        report.line("Put this into your Django settings:")
        report.line()
        report.line("ANYMAIL = {")
        for name, value in sorted(sandbox.anymail_settings(*options.names).items()):
            report.line(f"    {name!r}: {value!r},")
        report.line("}")
        report.line()
        if sandbox.webhook_url is None:
            report.line("Webhooks need --webhook-url.")
        run_until_interrupted(sandbox, report)
    return 0


def describe(error: Exception) -> str:
    """Say why a sandbox can't start."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{error.strerror}. Choose another one with --port."
    return str(error)


def run_until_interrupted(sandbox: Sandbox, report: Report) -> None:
    """Say how to use a sandbox that has been started, and report what happens, until Ctrl-C."""
    _explain(sandbox, report)
    _wait(report)


def _explain(sandbox: Sandbox, report: Report) -> None:
    url = sandbox.base_url
    report.line(f"Messages are listed at {url}/, with buttons for their events.")
    report.line(f"As JSON: curl {url}/{CONTROL}/messages")
    report.line("A webhook, by the provider's name, the message's id, and the event:")
    report.line(f"    curl -X POST '{url}/{CONTROL}/postmark/<message id>/delivered'")
    report.line("    ... /bounced?recipient=<address>, /inbound for a reply, /inbound?raw for MIME")


def _wait(report: Report) -> None:
    """Report what happens, until Ctrl-C."""
    handler = _Printer(report)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        report.line("Ctrl-C ends it.")
        report.line()
        _forever()
    except KeyboardInterrupt:
        report.line()
        report.line("Stopped.")
    finally:
        logger.removeHandler(handler)


def _forever() -> None:
    threading.Event().wait()


class _Printer(logging.Handler):
    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.line(record.getMessage())
