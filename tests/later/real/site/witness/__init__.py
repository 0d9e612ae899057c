"""A Django app that notes what becomes of messages, and can hold or kill who sends them.

It writes into the directory that the setting WITNESS names, since a process that is killed can't
tell anything any more. Each line of "journal" is a JSON object.
"""
