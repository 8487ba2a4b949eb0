"""A cleanup reviewed like code: its plan is a comment on the change that edits the policy, and the merge applies it.

What runs it is a job of GitHub or GitLab: `python -m dregutil.review`. It drives the command line as a process, and
talks to the API of the service that runs the job, to nothing else. What was approved is a saved plan, named by its
checksum.
"""
