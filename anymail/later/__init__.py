"""Delivering later: messages travel through a queue to a worker, which sends them."""
