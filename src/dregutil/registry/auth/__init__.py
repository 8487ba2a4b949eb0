"""Logins: challenges, tokens, credential helpers and files."""
