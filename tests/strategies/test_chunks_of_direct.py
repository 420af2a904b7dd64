"""How many pairs `direct` sends through the network at once where it is told."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from strategies import Direct, Sam2, UserError
from strategies.direct import BANKS
from tests.support.models import TOKENS, Pictures, group


def test_an_unknown_bank_is_answered_with_the_ones_that_exist(model: Sam2) -> None:
    with pytest.raises(UserError) as error:
        Direct(model, bank="cached")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert "bank=cached" in sentence
    assert all(bank in sentence for bank in BANKS)


def test_chunk_tokens_must_be_positive(model: Sam2) -> None:
    with pytest.raises(UserError, match="chunk_tokens=0 must be at least 1"):
        Direct(model, chunk_tokens=0)


@pytest.mark.slow
@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize(("objects", "pairs_at_once"), [(1, 1), (3, 2), (3, 3), (2, 5), (5, 12), (3, 1000)])
def test_direct_never_has_more_than_a_chunk_in_flight(
    model: Sam2, pictures: Pictures, bank: str, objects: int, pairs_at_once: int
) -> None:
    references = group(model, pictures, frames=(0, 1), present=[[True] * objects] * 2)
    for batch in (1, 9):
        with Direct(model, bank=bank, chunk_tokens=pairs_at_once * TOKENS) as strategy, Watch(model) as watch:
            strategy.prepare(references)
            assert watch.remembered_pairs == [objects, objects], "as in a session, whatever a chunk is"
            assert sum(watch.decoded_pairs) == 2 * objects
            assert max(watch.decoded_pairs) <= pairs_at_once, "the decoder makes the object pointers"
            if pairs_at_once >= 2 * objects:
                assert watch.decoded_pairs == [2 * objects], "what fits one chunk goes at once"
            watch.clear()
            strategy.predict(pictures.targets[:batch])
        assert sum(watch.decoded_pairs) == batch * objects
        assert max(watch.decoded_pairs) <= pairs_at_once
        assert max(watch.attended_tokens) <= pairs_at_once * TOKENS
        if pairs_at_once >= batch * objects:
            assert watch.decoded_pairs == [batch * objects], "what fits one chunk goes at once"


class Watch:
    """Notes the batch of every call of memory encoder and mask decoder, and memory attention's tokens."""

    def __init__(self, model: Sam2) -> None:
        self._encoder = model.network.memory_encoder
        self._decoder = model.network.mask_decoder.iou_prediction_head
        self._attention = model.network.memory_attention.layers[-1].linear1
        self.clear()

    def clear(self) -> None:
        self.remembered_pairs: list[int] = []
        self.decoded_pairs: list[int] = []
        self.attended_tokens: list[int] = []

    def __enter__(self) -> Watch:
        self._hooks = [
            self._encoder.register_forward_pre_hook(self._remembering),
            self._decoder.register_forward_pre_hook(self._decoding),
            self._attention.register_forward_pre_hook(self._attending),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _remembering(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.remembered_pairs.append(inputs[0].shape[0])

    def _decoding(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.decoded_pairs.append(inputs[0].shape[0])

    def _attending(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.attended_tokens.append(inputs[0].shape[:-1].numel())
