"""The worlds of `test_trust.py`: what lies in a registry, what stands before it, and what others do meanwhile."""
