"""stream_session: one HF session for each video, whose objects are predicted in turn.

How: the streaming session of transformers as shipped, fed with features. A frame's objects go through the network one
after another, and through the memory encoder together. On frames that label some objects and not others, the session's
memory encoder runs once for either kind, because shipped code would let labels of one object change the memory of
another (DESIGN section 3, trap 13).

Costs: time = one forward pass of batch one for each object of each video, over (R + 6) * h*w + (R + 15) * C/64 memory
tokens, where R counts the labelled frames of the object, and one pass of the memory encoder for each video. Memory: as
shipped, a session grows by 4.75 MB at 1024 px for each frame and object (trap 8). Here it forgets what no later frame
can see, which changes no bit of any mask: 6 spatial memories and 15 pointers stay, and what labelled frames left.
From: what a user of transformers gets for a stream. It is the oracle of `strategies.streams`, and the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strategies.models.tracker import Tracker, TrackerSession
from strategies.session import CandidateWatch
from strategies.streams.base import StreamStrategy, nothing_predicted
from strategies.streams.kept import kept_bytes
from strategies.streams.vocabulary import Labels, Remembered, StreamFrame
from strategies.vocabulary import Predictions


class StreamSession(StreamStrategy):
    """A session for each video; see the module's docstring."""

    def __init__(self, model: Tracker, *, videos: int | None = None) -> None:
        super().__init__(model, videos=videos)
        self._sessions: dict[str, TrackerSession] = {}

    def _step(self, frames: Mapping[str, StreamFrame], labels: Mapping[str, Labels | None]) -> dict[str, Predictions]:
        with CandidateWatch(self.model) as watch:
            return {video: self._step_video(video, frame, labels[video], watch) for video, frame in frames.items()}

    def _step_video(self, video: str, frame: StreamFrame, label: Labels | None, watch: CandidateWatch) -> Predictions:
        tracked = self._tracked(video, label)
        if not tracked and label is None:
            return nothing_predicted(frame.features, self.model)
        if video not in self._sessions:
            self._sessions[video] = self.model.new_session(frames=1)
        session = self._sessions[video]
        session.inject(frame.number, frame.features)
        watch.start()
        if label is None:
            logits, scores = session.track(frame.number)
        else:
            logits, scores = session.track(frame.number, label.masks, label.object_ids)
        session.drop_features()
        session.forget_unseen(frame.number)
        chosen = [at for at, each in enumerate(self.objects(video)) if each in tracked]
        return Predictions(
            logits=logits[:, chosen],
            object_scores=scores[:, chosen],
            ious=watch.ious()[None, chosen],
            object_ids=tracked,
        )

    def _finish(self, video: str) -> None:
        self._sessions.pop(video, None)

    def _release(self) -> None:
        self._sessions = {}

    def _remembered(self, video: str) -> tuple[Remembered, ...]:
        return self._sessions[video].remembered() if video in self._sessions else ()

    def _remember(self, video: str, frames: Sequence[Remembered]) -> None:
        if video in self._sessions:
            self._sessions[video].remember(frames)

    @property
    def state_bytes(self) -> int:
        return kept_bytes(tensor for session in self._sessions.values() for tensor in session.tensors())
