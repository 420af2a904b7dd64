"""How reliable the numbers are: how they were measured, what disturbed them, and the harness's own certificate."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import pandas as pd

from harness.row import SETTING
from harness.stats.speedup import LEVEL
from report.reading.run import Run, dig, finite
from report.reading.samples import baseline_rate, rate_in_turns
from report.render.document import Block, Bullets, Paragraph, Section
from report.sections.certificate import certificate_blocks, mask_certificate_blocks
from report.sections.points_table import ratio
from report.sections.speed_against_batch import same_bands

MOST_DISTURBED = 12
"""At most so many disturbed points are named."""
WARM = 85
"""The temperature, in °C, from which a GPU may reduce its clock."""
BOOSTED = 0.95
"""A rate without a pause below this share of the rate in turns tells that the turns ran at a higher clock."""
MUCH_SLOWER, FEWEST_ALIKE = 0.6, 4
"""A baseline below this share of its usual rate is named, which is the median over at least so many points."""
MOST_NAMED = 3
"""So many points are named in a sentence, those that are the furthest off first."""


def caveats_section(run: Run) -> Section | None:
    found = warnings(run)
    blocks: list[Block | None] = [
        Bullets(items=tuple(found)) if found else None,
        *certificate_blocks(run),
        *mask_certificate_blocks(run),
        _method(run),
    ]
    return Section.of("How far to trust it", *blocks)


def warnings(run: Run) -> list[str]:
    """Return a sentence for each thing that may have disturbed the measurement or takes meaning from its numbers."""
    summary, found = run.summary, list[str]()
    timed = summary["converged"].notna()
    early = int((~summary["converged"].astype("boolean")).sum())
    if early:
        found.append(
            f"{early} of {int(timed.sum())} timed points ended before they converged: more time "
            "(`timing.max_seconds`) would narrow their intervals."
        )
    flags = [flag for outliers in run.stored("details", "outliers") for flag in _flags(outliers)]
    if any(flags):
        found.append(f"Rounds labelled as outliers stay in: {sum(flags)} of {len(flags)} over all points.")
    found += _of_disturbed_points(summary)
    foreign = summary["foreign_processes"]
    if (foreign > 0).any():
        count = int((foreign > 0).sum())
        found.append(f"Other processes were on the GPU during {count} points: at most {foreign.max():.0f}.")
    throttled = summary[summary["throttle"].notna()]
    for reason, points in throttled.groupby("throttle"):
        found.append(f"The GPU slowed itself down ({reason}) during {len(points)} points.")
    if (summary["gpu_temperature_c"] >= WARM).any():
        found.append(f"The GPU reached {summary['gpu_temperature_c'].max():.0f} °C.")
    if run.environment.get("git_changed") is True:
        found.append("The code had changes that were not committed: its commit does not describe all of it.")
    found += _of_boosts(run)
    found += _of_slow_baselines(run)
    found += _of_random_weights(run)
    lone = summary[(summary["status"] == "ok") & summary["speedup"].isna()]
    if len(lone):
        found.append(f"{len(lone)} points have a speed but no speed-up: they were not timed in turns with a baseline.")
    return [*found, *_about_labels(run)]


def _of_disturbed_points(summary: pd.DataFrame) -> list[str]:
    """Name the points that were timed beside busy neighbours."""
    known = summary[summary["disturbed"].notna()]
    points = known[known["disturbed"].astype(bool)]
    if points.empty:
        return []
    shares = points["cpu_others"].dropna()
    took = f" ({shares.min():.0%} to {shares.max():.0%})" if len(shares) else ""
    names = [f"`{name}`" for name in points["point"]]
    more = [f"and {len(names) - MOST_DISTURBED} more"] if len(names) > MOST_DISTURBED else []
    return [
        f"{len(points)} of {len(known)} timed points were disturbed: others took a tenth of all processors' time or "
        f"more{took} meanwhile, and what that does to a ratio is not in the interval of one process "
        f"(`timing.processes` has several): {', '.join([*names[:MOST_DISTURBED], *more])}."
    ]


def _about_labels(run: Run) -> list[str]:
    """Return what the harness warned of while it measured, each warning once."""
    lists = [given for given in run.stored("details", "warnings") if isinstance(given, list)]
    given = dict.fromkeys(warning for warnings in lists for warning in warnings if isinstance(warning, str) and warning)
    return [f"{warning[0].upper()}{warning[1:]}." for warning in given]


def _of_boosts(run: Run) -> list[str]:
    """Say where a strategy was slower without a pause than in turns with its baseline, and give both rates.

    A GPU that is half idle in the baseline's turns has power and temperature to spare in the strategy's.
    """
    slower: list[tuple[float, str]] = []
    for name, content in run.points.items():
        sustained = dig(content, "details", "sustained")
        targets, seconds = finite(dig(sustained, "targets")), finite(dig(sustained, "seconds"))
        in_turns = rate_in_turns(content.get("samples"))
        if targets and seconds and in_turns and targets / seconds < BOOSTED * in_turns:
            alone = targets / seconds
            slower.append((alone / in_turns, f"`{name}` {alone:.3g} targets/s instead of {in_turns:.3g}"))
    if not slower:
        return []
    return [
        f"Without a pause the GPU was slower than in turns with the baseline, between which its clock recovers: "
        f"{_furthest_off(slower)}. A long job runs at the lower rate."
    ]


def _of_slow_baselines(run: Run) -> list[str]:
    """Name the points in whose turns the baseline was much slower than in those of other points of their setting.

    A strategy that leaves threads busy, or memory full, slows the baseline too, and looks better than it is.
    """
    timed, slower = run.summary[run.summary["speedup"].notna()], list[tuple[float, str]]()
    for _, alike in timed.groupby([*SETTING, "objects", "batch", "reference", "options"], dropna=False):
        rates = {row["point"]: rate for _, row in alike.iterrows() if (rate := baseline_rate(run, row)) is not None}
        if len(rates) < FEWEST_ALIKE:
            continue
        usual = median(rates.values())
        slower += [
            (rate / usual, f"`{name}` {rate:.3g} targets/s instead of {usual:.3g}")
            for name, rate in rates.items()
            if rate < MUCH_SLOWER * usual
        ]
    if not slower:
        return []
    return [
        f"In turns with some points the baseline was much slower than in turns with others: {_furthest_off(slower)}. "
        "The machine was slower then, or the strategy slows what shares its process, and its speed-up is too high."
    ]


def _furthest_off(slower: Sequence[tuple[float, str]]) -> str:
    """Return the texts of the points that are the furthest off, by their shares of what they should be."""
    named = [text for _, text in sorted(slower)[:MOST_NAMED]]
    more = f" and {len(slower) - len(named)} more" if len(slower) > len(named) else ""
    return f"{'; '.join(named)}{more}"


def _of_random_weights(run: Run) -> list[str]:
    """Say what agreement on weights that nobody trained is worth."""
    drawn = [content for content in run.points.values() if dig(content, "config", "model", "weights") == "random"]
    if not drawn:
        return []
    shares = (finite(dig(content, "details", "worth", "open_gates")) for content in drawn)
    known = [share for share in shares if share is not None]
    gates = f" ({min(known):.0%} to {max(known):.0%} of the object-score gates are open)" if known else ""
    return [
        f"{len(drawn)} points have random weights: that their masks agree says that strategies compute the same"
        f"{gates}, and nothing about masks that anybody wants."
    ]


def _method(run: Run) -> Paragraph | None:
    compared = run.summary[run.summary["speedup"].notna()]
    if compared.empty:
        return None
    baselines = " or ".join(f"`{name}`" for name in compared["reference"].dropna().unique()) or "the baseline"
    bands = same_bands(run)
    several = ""
    if (compared["processes"] > 1).any():
        several = (
            " Of points that several processes timed it is the mean of theirs (on the log scale), with a bootstrap "
            "on two levels, processes and rounds within each."
        )
    same = f"within {ratio(1 / (1 + bands[0]))} and {ratio(1 + bands[0])}" if len(bands) == 1 else "within its band"
    return Paragraph(
        text=f"`speedup` is against {baselines}, timed in the same process on the same inputs: rounds of four blocks "
        "in the order baseline, strategy, strategy, baseline (ABBA), so that a machine which slowly changes favours "
        f"neither. It is the rounds' median ratio (of several groups: their weighted mean), with the {LEVEL:.0%} "
        f"interval of a seeded bootstrap.{several} The verdict is `same` where the whole interval lies {same}, else "
        "`faster` or `slower` where it lies on one side of 1, else `unclear`.",
        quiet=True,
    )


def _flags(outliers: Any) -> list[bool]:
    """Return whether each round of a point is labelled as an outlier, over all its groups."""
    groups = outliers.values() if isinstance(outliers, dict) else []
    return [flag for group in groups if isinstance(group, list) for flag in group if isinstance(flag, bool)]
