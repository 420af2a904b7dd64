"""Strategies for streams: many videos and objects at once, whose frames come in order and enter memory."""
