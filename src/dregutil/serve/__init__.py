"""`dregutil serve`: pages and a JSON API about one registry.

The process that serves reads files alone: it holds no login and no connection to the registry. What talks to the
registry is a job, a child process of this program, whose command a person could type as well (`jobs`). The API is a
table of routes, each with the role that it needs and the types of what it takes and answers (`endpoints`).
"""
