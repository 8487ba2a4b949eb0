"""Retention: policies, lists of images in use, and a verdict with reasons for each tag.

`judge` begins here; `policy` and `verdict` are the values. Pure: texts, facts and the current time are passed in. Only
`facts` and `read_lists` read: the content database, and the lists' files. Nothing here reaches a registry.
"""
