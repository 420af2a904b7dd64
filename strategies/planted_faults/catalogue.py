"""The catalogue of planted faults: strategies that are wrong in a known way.

Each is `direct` or `extended_session` with one mistake, small enough to read. They call themselves exact, as a mistaken
strategy would. `harness.commands.certify_masks` runs them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from strategies.direct import Direct
from strategies.extended_session import ExtendedSession
from strategies.planted_faults.calls import (
    AnswersKept,
    AnswersOverwritten,
    EveryThirtiethCall,
    FeaturesSpoiled,
    FromTheFiftiethCall,
    KnownByAddress,
    LargeBatchesScaled,
    ReferencesSpoiled,
)
from strategies.planted_faults.memory_bank import (
    BanksSwapped,
    EveryReferenceSeen,
    FirstReferenceOnly,
    LatentsReversed,
    MasksByNearestPixels,
    MemoryRounded,
    MemorySplit,
    MemoryTimeOffByOne,
    MemoryUnrounded,
    NoObjectEmbeddingDropped,
    OneObjectsPointers,
    OneObjectUnrounded,
    OtherLatentsTurned,
    OthersPointersDropped,
    PointerPositionsAlike,
    PointerPositionsMissing,
    PointersDropped,
    RawSlots,
    WeightsRounded,
)
from strategies.planted_faults.predictions import (
    ClosedGatesFaint,
    ClosedGatesFilled,
    FirstTargetForAll,
    GateForgotten,
    IousShifted,
    LogitsScaled,
    LogitsShifted,
    MasksMoved,
    NotANumber,
    ObjectMissing,
    ObjectsSwapped,
    OrderReversed,
    ScoresHalved,
    ScoresRolled,
    ScoresSigned,
    SecondBest,
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A strategy with a planted mistake.

    made: its class, whose docstring says what is wrong. rounds: the least rounds of timing in which the mistake shows.
    """

    name: str
    made: type[Direct] | type[ExtendedSession]
    rounds: int = 2

    @property
    def what(self) -> str:
        """What is wrong, in a sentence."""
        return " ".join((self.made.__doc__ or "").split())

    @property
    def options(self) -> dict[str, Any]:
        """The options by which a point's configuration names the strategy."""
        return {"_target_": f"{self.made.__module__}.{self.made.__qualname__}"}


RARE = 40
"""The rounds of timing, of two calls for each group, in which a mistake shows that spoils some calls only."""

FAULTS = (
    Fault(name="pointers dropped", made=PointersDropped),
    Fault(name="pointer positions alike", made=PointerPositionsAlike),
    Fault(name="pointer positions missing", made=PointerPositionsMissing),
    Fault(name="raw slots", made=RawSlots),
    Fault(name="one object's pointers wrong", made=OneObjectsPointers),
    Fault(name="two banks swapped", made=BanksSwapped),
    Fault(name="memory not rounded", made=MemoryUnrounded),
    Fault(name="one object's memory not rounded", made=OneObjectUnrounded),
    Fault(name="no-object embedding dropped", made=NoObjectEmbeddingDropped),
    Fault(name="memory's time off by one", made=MemoryTimeOffByOne),
    Fault(name="weights rounded", made=WeightsRounded),
    Fault(name="first reference only", made=FirstReferenceOnly),
    Fault(name="memory split among targets", made=MemorySplit),
    Fault(name="first target for all", made=FirstTargetForAll),
    Fault(name="logits x 1.005", made=LogitsScaled),
    Fault(name="logits + 0.05", made=LogitsShifted),
    Fault(name="masks moved by a pixel", made=MasksMoved),
    Fault(name="scores halved", made=ScoresHalved),
    Fault(name="scores signed", made=ScoresSigned),
    Fault(name="scores rolled", made=ScoresRolled),
    Fault(name="predicted IoUs + 0.01", made=IousShifted),
    Fault(name="closed gates filled", made=ClosedGatesFilled),
    Fault(name="closed gates at -0.001", made=ClosedGatesFaint),
    Fault(name="noise for near ties", made=SecondBest),
    Fault(name="closed gate, mask kept", made=GateForgotten),
    Fault(name="objects swapped in 1 of 6", made=ObjectsSwapped),
    Fault(name="objects reversed", made=OrderReversed),
    Fault(name="an object missing", made=ObjectMissing),
    Fault(name="a pixel is NaN", made=NotANumber),
    Fault(name="every 30th call", made=EveryThirtiethCall, rounds=RARE),
    Fault(name="from the 50th call on", made=FromTheFiftiethCall, rounds=RARE),
    Fault(name="answers kept", made=AnswersKept),
    Fault(name="answers overwritten", made=AnswersOverwritten),
    Fault(name="pictures known by address", made=KnownByAddress),
    Fault(name="large batches x 1.001", made=LargeBatchesScaled),
    Fault(name="features spoiled", made=FeaturesSpoiled),
    Fault(name="references spoiled", made=ReferencesSpoiled),
)

OF_CHOSEN_REFERENCES = (
    Fault(name="every reference seen", made=EveryReferenceSeen),
    Fault(name="others' pointers dropped", made=OthersPointersDropped),
)
"""Faults that show where there are more references than the model conditions on."""

OF_RESIZED_MASKS = (Fault(name="masks by nearest pixels", made=MasksByNearestPixels),)
"""Faults that show where the model resizes masks on their way into memory."""

OF_ROUNDED_MEMORY = tuple(fault for fault in FAULTS if fault.made in (MemoryUnrounded, OneObjectUnrounded))
"""Those of `FAULTS` that show only where the model rounds its memory."""

OF_LATENTS = (
    Fault(name="memory rounded", made=MemoryRounded),
    Fault(name="latents reversed", made=LatentsReversed),
    Fault(name="other latents turned", made=OtherLatentsTurned),
)
"""Faults that show where the model compresses a memory to latents, and does not round them."""
