"""What to do when a message could not be sent, and what is remembered about it.

``decisions`` has the rules, as functions that neither wait nor send. ``pauses``, ``ledger`` and
``rate`` keep what several processes must agree on.
"""
