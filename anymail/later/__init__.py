"""Delivering later: messages travel through a queue to a worker, which sends them."""

from .send import send_later

__all__ = ["send_later"]
