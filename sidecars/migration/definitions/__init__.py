"""What the server's definitions say of paths that move: indexes, validators and views, judged and converted.

Walk: `server` reads definitions and writes them, and keeps the forms of each, sealed. `constants` is what
becomes of a class's constants and types, and `filters` follows it through a definition. `conversions` has the
table of what indexes keep and lose, and widens and narrows definitions for a job. Of the rooms it uses
policies, keys, crypto and wire.

Theory. A value stands in its old form or in its new one, and no value of one is a value of the other. So a
definition that names both forms wherever it named the old one says of a document at any moment what it said
before. Such a wide one is in force before the first value moves; when the last one has moved, that with the
new form alone is. A unique index holds throughout: its successor stands before it goes.

May not import: proxy, asyncio. No constant is in what it tells or raises; repr hides definitions.
"""
