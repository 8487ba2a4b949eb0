"""Removing tags and nothing else: the digest that a tag stands for is never deleted.

`untagger` takes the shortest way that the server has: `by_name`, else `by_placeholder`. What is about to be done is in
the record before it is sent, and what ends halfway is taken back. `sweeping` holds what both ways share.
"""
