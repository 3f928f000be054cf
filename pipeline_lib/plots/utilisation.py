"""How busy a simulated search kept its devices."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pipeline_lib.plots import style
from pipeline_lib.plots.tables import markdown
from pipeline_lib.search.simulation import Attempt, Utilisation

MINUTE = 60


def busy(attempts: Sequence[Attempt]) -> list[tuple[float, int]]:
    """(seconds since the first beginning, devices busy from then on), ascending; ends go before beginnings."""
    events = sorted([(one.ended, -1) for one in attempts] + [(one.begun, 1) for one in attempts])
    first, number, steps = min(one.begun for one in attempts), 0, []
    for moment, change in events:
        number += change
        steps.append((moment - first, number))
    return steps


@style.styled
def draw(attempts: Sequence[Attempt], devices: int) -> Figure:
    """Busy devices over time, the generations shaded in turn, and every kill."""
    figure = Figure(figsize=(8.2, 3.6))
    axes = figure.subplots()
    first = min(one.begun for one in attempts)
    for generation in sorted({one.generation for one in attempts}):
        own = [one for one in attempts if one.generation == generation]
        begun, ended = min(one.begun for one in own), max(one.ended for one in own)
        if generation % 2:
            axes.axvspan((begun - first) / MINUTE, (ended - first) / MINUTE, color="#F1F1F1", linewidth=0, zorder=0)
    steps = busy(attempts)
    minutes, numbers = [moment / MINUTE for moment, _ in steps], [number for _, number in steps]
    axes.fill_between(minutes, numbers, step="post", color=style.SKY, linewidth=0, zorder=2, label="busy devices")
    axes.axhline(devices, color=style.GREY, linewidth=1.2, zorder=3, label="devices")
    if killed := [one for one in attempts if one.killed]:
        axes.plot(
            [(one.ended - first) / MINUTE for one in killed], [0] * len(killed), "|", color=style.VERMILLION,
            markersize=9, clip_on=False, zorder=4, label="killed", gid="killed",
        )  # fmt: skip
    axes.set_xlabel("minutes (generations shaded in turn)")
    axes.set_ylabel("devices")
    axes.set_ylim(0, devices * 1.08)
    style.legend_below(axes, columns=3)
    return figure


def as_text(found: Utilisation) -> str:
    """The numbers as a table of Markdown."""
    rows = [
        ("devices", f"{found.devices}"),
        ("trainings", f"{found.trainings:,}"),
        ("attempts", f"{found.attempts:,}"),
        ("duration (min)", f"{found.makespan / MINUTE:.1f}"),
        ("duration without orchestration (min)", f"{found.ideal / MINUTE:.1f}"),
        ("share of it that orchestration, starts and lost work take", f"{found.overhead:.1%}"),
        ("utilisation of the devices", f"{found.share:.1%}"),
        ("utilisation without orchestration", f"{found.ideal_share:.1%}"),
        ("lost device-minutes", f"{found.lost / MINUTE:.1f}"),
        ("lost of all device time in use", f"{found.lost / found.busy:.2%}"),
    ]
    return markdown(("simulated search", ""), rows)
