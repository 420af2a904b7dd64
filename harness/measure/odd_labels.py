"""What a group's labels hold that makes no point wrong but that a person should know: warnings, in sentences."""

from __future__ import annotations

import numpy as np

from harness.data.group import Group
from harness.data.images import values_in
from strategies.vocabulary import VOID, References

MOST_GROUPS_LISTED = 20


class OddLabels:
    """Collects ids of the truth that no reference shows, and objects that are lost at the model's resolution."""

    def __init__(self) -> None:
        self._strange: dict[str, set[int]] = {}
        self._lost: dict[str, set[int]] = {}
        self._side = 0

    def look_at_references(self, group: Group, references: References) -> None:
        """Note the objects of which no reference's mask, as the model gets it, has a pixel."""
        seen = references.masks.flatten(2).any(2).any(0).tolist()
        lost = {identity for identity, there in zip(references.object_ids, seen, strict=True) if not there}
        self._lost.setdefault(group.name, set()).update(lost)
        self._side = references.masks.shape[-1]

    def look_at_truth(self, group: Group, labels: np.ndarray) -> None:
        """Note the ids of a target's truth, uint8 ``[height, width]``, that are no object of its group."""
        strange = values_in(labels) - {*group.object_ids, VOID}
        self._strange.setdefault(group.name, set()).update(strange)

    def warnings(self) -> list[str]:
        """Return a sentence for each kind of oddity that there is."""
        found = []
        if any(self._strange.values()):
            found.append(
                "the truth holds ids that no reference in use shows, and which count as background: "
                f"{_listed(self._strange)}; label such objects in a reference to have them predicted"
            )
        if any(self._lost.values()):
            found.append(
                f"objects have no pixel left in any reference at the model's {self._side} x {self._side}: "
                f"{_listed(self._lost)}; their masks are empty and agree for that alone, so leave them out, crop the "
                "pictures to them or take a model of more pixels"
            )
        return found


def _listed(ids: dict[str, set[int]]) -> str:
    named = [f"{', '.join(map(str, sorted(some)))} in group {group}" for group, some in ids.items() if some]
    more = len(named) - MOST_GROUPS_LISTED
    return "; ".join(named[:MOST_GROUPS_LISTED]) + (f"; and more in {more} other groups" if more > 0 else "")
