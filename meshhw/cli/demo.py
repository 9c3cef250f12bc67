"""`meshhw demo`."""

from __future__ import annotations

from meshhw.cli.common import context, single

app = single()


@app.command()
def demo() -> None:
    """The main job from end to end, on emulated tokens: create, verify, encrypt, decrypt, refuse, log."""
    from dataclasses import asdict

    from meshhw.managers.demo import run_demo

    output = context().output
    if output.json:
        output.show([asdict(step) for step in run_demo(output.note)])
    else:
        run_demo(output.line)
