"""A job from its options to its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.group import Group, evenly
from harness.data.sources import open_groups
from harness.isolate.jobs import model_of
from harness.job import fingerprint
from harness.job.bar import JobBar
from harness.job.choice import Auto, Chosen, again, calibrated, from_run
from harness.job.coco import check_coco, write_coco
from harness.job.encoding import checked, speed_of
from harness.job.fingerprint import OTHER_FOLDER, Fingerprint
from harness.job.ray_engine import check_ray
from harness.job.review import write_review
from harness.job.shards import adopt, alone, ended, held, job_lock, part_of
from harness.job.share import engine_of, share
from harness.job.tables import write_broken, write_tables
from harness.measure.making import make_strategy
from harness.options.config import HarnessConfig
from harness.options.devices import resolve_device
from harness.options.points import Point
from harness.options.shards import Shard
from harness.pipeline.cores import Cores, available, computing_with
from harness.pipeline.decoding import difference_of_masks
from harness.pipeline.ledger import Labelled, Ledger
from harness.pipeline.meter import NETWORK, Meter, bottleneck
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.plan import Chunk, Work, out_of, preview_of, root_of, targets_of, work_of
from harness.pipeline.rehearse import cores_of
from harness.store.atomic import remove_unfinished
from harness.workload.encode import encoder_of
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import UserError
from strategies.models.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run of a job comes to.

    broken: how many were left out. whole: whether tables were written, which the parts of a job leave to the last of
    them; these are of the whole job then, as is broken. scores: J and F where there is truth. parquet: whether that
    table could be written. decoding: how alike masks of ``decode=fast`` are to others, in words; empty where it applied
    to no picture. encoder: what was found of the encoder, in words.
    """

    out: Path
    targets: int
    groups: int
    labelled: int
    seconds_busy: dict[str, float]
    bottleneck: str
    broken: int
    whole: bool = False
    scores: tuple[float, float] | None = None
    parquet: bool = False
    decoding: str = ""
    encoder: tuple[str, ...] = ()


def label(point: Point, *, auto: Auto | None = None, preview: int | None = None) -> Summary:
    """Write a mask for every target that has none yet, and the tables and pages of all.

    auto: what of the point is open. preview: only so many targets, spread over the groups, in a folder of their own
    that is made anew.
    Raises UserError for bad input, and where the folder of masks can't be written to.
    """
    config = point.config
    device = resolve_device(config.device)
    root_of(config)
    out = out_of(config)
    if config.label.engine == "ray":
        check_ray(device)
    if "coco" in config.label.format:
        check_coco()
    shard = None if config.label.shard is None or preview is not None else Shard.parsed(config.label.shard)
    if preview is not None:
        out = preview_of(out)
    fingerprint.stored(out)  # so that nothing is written into a foreign folder, not even its lock
    with job_lock(out, out, otherwise=OTHER_FOLDER, shared=shard is not None), ExitStack() as stack, JobBar() as bar:
        if preview is not None:
            _emptied(out)
        groups = open_groups(config, on_broken=lambda name, error: bar.break_off(name, "", str(error)))
        if preview is not None:
            groups = spread(groups, preview)
        plan = work_of(groups, config.objects, out)
        place = out
        if shard is None:
            adopt(out)
            stack.callback(remove_unfinished, out)  # An actor that is ended may have been writing.
        else:
            with alone(out):
                place = stack.enter_context(held(shard, out))
        engine = None if preview is not None else engine_of(config.label, device, said=bar.say)
        if engine is not None:
            stack.callback(engine.close)
        model = model_of(config, known_usable=False)
        with alone(out) if shard is not None else nullcontext():
            cores = engine.shares.cores if engine is not None else config.label.cores or available()
            begun, strategy, encoder = _begun(
                point, auto, plan, shard, model, out, bar, cores, preview=preview is not None
            )
        meter = Meter(workers=begun.cores.workers)
        with Ledger(place) as ledger:
            chunks = _missing(begun, ledger)

            def begin() -> None:
                total = targets_of(begun.plan)
                bar.begin(meter, total=total, kept=total - sum(len(chunk.wanted) for chunk in chunks))

            def enter(rows: Sequence[Labelled], targets: int) -> None:
                ledger.add(rows)
                bar.advance(targets)

            about_encoder: tuple[str, ...] = (begun.encoded,)
            if engine is None or not chunks:
                begin()
                pipeline = Pipeline(
                    encoder,
                    strategy,
                    meter,
                    decode=config.label.decode,
                    cores=begun.cores,
                    on_broken=bar.break_off,
                    on_labelled=enter,
                )
                with computing_with(begun.cores.threads):
                    pipeline.run(chunks)
                    busy = sum(meter.busy()[name] for name in NETWORK)
                    about_encoder += (speed_of(encoder, batch=begun.point.config.batch, busy=busy),)
            else:
                del model, strategy, encoder  # The actors have their own.
                settled = replace(begun.point.config, device=device.type)
                share(chunks, engine, settled, begun.cores, meter, bar, on_ready=begin, on_labelled=enter)
            summary = Summary(
                out=out,
                targets=targets_of(begun.plan),
                groups=len(begun.plan),
                labelled=bar.labelled,
                seconds_busy=meter.busy(),
                bottleneck=bottleneck(meter.busy(), workers=begun.cores.workers),
                broken=len(bar.broken),
                decoding=begun.decoding,
                encoder=tuple(filter(None, about_encoder)),
            )
            if shard is None:
                return _written(summary, config, out, begun.plan, ledger, bar.broken)
        with alone(out):
            broken = ended(shard, out, bar.broken)
            if broken is None:
                return summary
            with Ledger(out) as ledger:
                return _written(summary, config, out, plan, ledger, [*broken, *_missed(plan, ledger, broken)])


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a run is settled on: its point, its part of the groups that can be used, and each process's threads.

    remembered: whether masks depend on the targets before them. decoding: as in `Summary`. encoded: how near the
    encoder is to the eager one in fp32, in words.
    """

    point: Point
    plan: Sequence[Work]
    cores: Cores
    remembered: bool
    decoding: str
    encoded: str


def _begun(
    point: Point,
    auto: Auto | None,
    plan: Sequence[Work],
    shard: Shard | None,
    model: Tracker,
    out: Path,
    bar: JobBar,
    cores: int,
    *,
    preview: bool,
) -> tuple[_Begun, Strategy, Encoder]:
    """Settle what is open, as in the job's earlier runs where there are any, and write the fingerprint.

    cores: those of each process.
    """
    before = fingerprint.stored(out)
    chosen = _chosen(point, auto, before, plan, model, bar, cores)
    point, config = chosen.point, chosen.point.config
    strategy = make_strategy(config.strategy, model)
    options = fingerprint.options_of(point, model.device)
    weights, other_weights = fingerprint.weights_of(model), fingerprint.other_weights_of(model)
    if before is not None:
        fingerprint.check_same(
            before,
            options=options,
            weights=weights,
            other_weights=other_weights,
            threads=config.label.threads,
            out=out,
        )
    kept = before.threads if before else None
    shared = cores_of(config.label, plan, model, strategy, cores=cores, kept=kept)
    whole = plan
    if shard is not None:
        plan = part_of(shard, plan, batch=config.batch, whole_groups=strategy.remembers_targets)
    plan, references = _fingerprinted(plan, bar)
    if before is not None:
        fingerprint.check_references(before, references, out)
    encoder = encoder_of(model, config.encode, batch=config.batch)
    with computing_with(shared.threads):
        encoded = checked(encoder, plan, batch=config.batch)
        decoding = before.decoding if before is not None else ""
        if config.label.decode == "fast" and not decoding:
            decoding = difference_of_masks(whole, encoder, strategy, batch=config.batch)
    known = dict(sorted({**(before.groups if before else {}), **references}.items()))
    Fingerprint(
        options=options,
        weights=weights,
        other_weights=other_weights,
        threads=shared.threads,
        groups=known,
        chosen=chosen.why,
        decoding=decoding,
        preview=preview,
    ).write(out)
    if auto is not None and chosen.why:
        bar.say(f"chosen{' before' if before is not None else ''}: {chosen.why}")
    begun = _Begun(
        point=point,
        plan=plan,
        cores=shared,
        remembered=strategy.remembers_targets,
        decoding=decoding,
        encoded=encoded,
    )
    return begun, strategy, encoder


def _chosen(
    point: Point,
    auto: Auto | None,
    before: Fingerprint | None,
    plan: Sequence[Work],
    model: Tracker,
    bar: JobBar,
    cores: int,
) -> Chosen:
    """Return the job's point, and tell how it was chosen where that was left open."""
    if auto is None:
        return Chosen(point=point, why=before.chosen if before is not None else "")
    if before is not None:
        return again(auto, before)
    options = point.config.label
    if options.run is not None:
        return from_run(auto, Path(options.run), point)
    with make_strategy(point.config.strategy, model) as usual:
        found = cores_of(options, plan, model, usual, cores=cores, kept=None)
    with computing_with(found.threads):
        return calibrated(auto, point, plan, model, said=bar.say)


def spread(groups: Sequence[Group], count: int) -> list[Group]:
    """Return ``count`` of all targets, evenly spread over the groups and over the targets of each."""
    chosen = evenly([(at, target) for at, group in enumerate(groups) for target in group.targets], count)
    return [
        replace(group, targets=tuple(target for number, target in chosen if number == at))
        for at, group in enumerate(groups)
        if any(number == at for number, _ in chosen)
    ]


def _fingerprinted(plan: Sequence[Work], bar: JobBar) -> tuple[list[Work], dict[str, str]]:
    """Return the groups whose references can be read, with hashes of them."""
    found: dict[str, str] = {}
    for work in plan:
        try:
            found[work.group.name] = fingerprint.references_of(work.group)
        except UserError as error:
            bar.break_off(work.group.name, "", str(error))
    return [work for work in plan if work.group.name in found], found


def _missing(begun: _Begun, ledger: Ledger) -> list[Chunk]:
    """Return what is to be done of each group of which anything is."""
    batch = begun.point.config.batch
    whole = ((work, Chunk.of(work, batch=batch, remembered=begun.remembered)) for work in begun.plan)
    left = (chunk.without(work.done(ledger.done(work.group.name))) for work, chunk in whole)
    return [chunk for chunk in left if chunk is not None]


def _missed(
    plan: Sequence[Work], ledger: Ledger, broken: Sequence[tuple[str, str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the targets that no part of a job had, with the reason: parts may have seen other pictures or options."""
    listed = {(group, target) for group, target, _ in broken}
    for work in plan:
        if (work.group.name, "") in listed:
            continue
        done = work.done(ledger.done(work.group.name))
        for target in work.group.targets:
            if target.name not in done and (work.group.name, target.name) not in listed:
                why = "no part had it, as they saw other pictures or had other options: go on without shard="
                yield work.group.name, target.name, why


def _written(
    summary: Summary,
    config: HarnessConfig,
    out: Path,
    plan: Sequence[Work],
    ledger: Ledger,
    broken: Sequence[tuple[str, str, str]],
) -> Summary:
    """Write tables and pages of all that is done."""
    options = config.label
    parquet = write_tables(ledger, out)
    write_broken(broken, out)
    if "coco" in options.format:
        write_coco(ledger, out)
    if options.review:
        write_review(ledger, plan, out, count=options.review, title=f"Masks of {root_of(config).resolve().name}")
    return replace(summary, whole=True, broken=len(broken), scores=ledger.scores(), parquet=parquet)


def _emptied(out: Path) -> None:
    """Remove an earlier preview. Raises UserError where the folder holds a job that is none."""
    before = fingerprint.stored(out)
    if before is not None:
        if not before.preview:
            raise UserError(f"{out} holds a job that is no preview: remove it, or {OTHER_FOLDER}")
        for path in out.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name[0] != ".":
                path.unlink()
